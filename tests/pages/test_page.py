"""A page holds all that it shows, and whatever comes from a run is text on it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import reported

from attnscope.errors import InputError
from attnscope.pages import pictures
from attnscope.pages.page import report
from attnscope.runs.contents import CONTENTS


class Tree(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and all its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(params=reported.MAKERS)
def page(request, tmp_path):
    return report([reported.MAKERS[request.param](tmp_path / request.param)])


def test_a_page_asks_for_nothing(page):
    tree = Tree(page)
    for tag, attributes in tree.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/webp;base64,")), (
                tag,
                name,
            )
    assert "url(" not in page
    assert "@import" not in page


def test_a_page_runs_its_own_script_and_no_other(page):
    tree = Tree(page)
    assert [tag for tag, _ in tree.elements].count("script") == 1
    for tag, attributes in tree.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    policy = next(a["content"] for t, a in tree.elements if "http-equiv" in a)
    script = re.search(r"<script>(.*)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_what_stands_in_a_run_is_text_on_its_page(tmp_path):
    for make in (reported.ablate, reported.generate, reported.convergence, reported.bench):
        text = report([make(tmp_path / make.__name__ / "<b>a & b</b>")])
        tree = Tree(text)
        for caption in reported.HOSTILE[:1] if make is reported.bench else reported.HOSTILE:
            assert caption in tree.text
        assert "<b>a & b</b>" in tree.text
        assert "alert(1)>" not in text
        assert not [tag for tag, _ in tree.elements if tag == "b"]


def test_every_chart_has_a_name_and_its_values_as_a_table(page):
    for figure in re.findall(r'<figure class="chart".*?</figure>', page, re.S):
        tree = Tree(figure)
        drawings = [a for t, a in tree.elements if t == "svg"]
        assert len(drawings) == 1
        assert drawings[0]["aria-label"].strip()
        assert "details" in [tag for tag, _ in tree.elements]
        assert re.search(r"<tbody>\s*<tr", figure)


def test_names_of_elements_are_given_once_and_what_they_name_is_there(page):
    tree = Tree(page)
    names = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(names) == len(set(names))
    asked = [a["for"] for _, a in tree.elements if "for" in a]
    asked += [a["href"][1:] for t, a in tree.elements if t == "a"]
    assert set(asked) <= set(names)
    for tag, attributes in tree.elements:
        assert tag != "img" or "alt" in attributes


def test_what_a_chart_leads_to_is_a_row(tmp_path):
    for make in (reported.ablate, reported.convergence, reported.bench):
        tree = Tree(report([make(tmp_path / make.__name__)]))
        keys = {a["data-key"] for t, a in tree.elements if "data-key" in a and t != "tr"}
        rows = {a["data-key"] for t, a in tree.elements if "data-key" in a and t == "tr"}
        assert keys
        assert keys <= rows


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    run = reported.run(tmp_path / "a", "convergence", {}, prompts=reported.prompts())
    with pytest.raises(InputError, match="did not come to its end: give the same 'convergence'"):
        report([run])


def test_an_image_that_is_gone_is_named(tmp_path):
    run = reported.generate(tmp_path / "a")
    (run.path / "plan/00001.png").unlink()
    with pytest.raises(InputError, match=r"plan/00001.png' of the run is gone"):
        report([run])
    (run.path / "plan/00001.png").write_text("no image")
    with pytest.raises(InputError, match=r"plan/00001.png' of the run is gone or is no image"):
        report([run])


def test_runs_of_several_commands_are_refused(tmp_path):
    runs = [reported.generate(tmp_path / "a"), reported.convergence(tmp_path / "b")]
    with pytest.raises(InputError, match="have nothing in common"):
        report(runs)


def test_several_runs_are_compared_and_then_shown(tmp_path):
    runs = [reported.convergence(tmp_path / n, s) for n, s in (("one", 1.0), ("two", 2.0))]
    tree = Tree(report(runs))
    assert "2 runs of convergence" in tree.text
    assert "Settings that differ" in tree.text
    assert "Relative change of every run" in tree.text
    assert tree.text.count("When attention changes") == 2
    assert str(tmp_path / "one") in tree.text


def test_a_run_whose_command_says_nothing_shows_all_its_tables(tmp_path, monkeypatch):
    from attnscope.pages import registry

    table = pd.DataFrame({"table": ["A"], "row": [reported.HOSTILE[0]], "paper": [1.5]})
    run = reported.run(tmp_path / "a", "cost paper", {}, paper=table)
    tree = Tree(report([run]))
    assert reported.HOSTILE[0] in tree.text
    with pytest.raises(ValueError, match="there are no runs of 'nothing'"):
        registry.shows("nothing")
    assert set(registry._KNOWN) <= set(CONTENTS)


def test_many_images_are_made_smaller_and_the_page_says_so(tmp_path, monkeypatch):
    run = reported.generate(tmp_path / "a", size=256)
    assert "There are many images" not in report([run])
    monkeypatch.setattr(pictures, "BUDGET", 12_000)
    text = report([run])
    assert re.search(r"There are many images: here they have \d+ pixels at most", text)
    assert len(text) < 60_000


def test_a_plan_that_goes_by_noise_levels_is_told_and_not_drawn(tmp_path):
    text = report([reported.generate(tmp_path / "a", plan="tgate:m=-1nat,k=1")])
    assert "is not drawn" in Tree(text).text
