"""attnscope report, from run directories alone."""

import json
import subprocess
import sys

import pytest
import reported


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with three runs, one of them unfinished, as the place where one works."""
    monkeypatch.chdir(tmp_path)
    reported.convergence(tmp_path / "runs/convergence-a")
    reported.generate(tmp_path / "runs/generate <b>")
    reported.run(tmp_path / "runs/unfinished", "ablate", {"subjects": [{"model": "x"}]})
    return tmp_path / "runs"


def test_a_report_stands_in_its_run_if_no_place_is_said(attnscope, runs):
    file = runs / "convergence-a/report.html"
    code, out, err = attnscope("report", runs / "convergence-a")
    assert (code, err) == (0, "")
    assert out.startswith(f"report: {file} (")
    assert file.read_text("utf-8").startswith("<!doctype html>")
    assert attnscope("report", runs / "convergence-a", "--quiet") == (0, f"{file}\n", "")
    code, out, _ = attnscope("report", runs / "convergence-a", "--json")
    assert json.loads(out) == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "runs": [str(runs / "convergence-a")],
    }


def test_a_real_run_is_reported(attnscope, tmp_path):
    run = tmp_path / "cost"
    assert attnscope("cost", "--tgate", "m=10,k=5", "--scaling", "--out", run)[0] == 0
    code, _, err = attnscope("report", run)
    assert (code, err) == (0, "")
    text = (run / "report.html").read_text("utf-8")
    for told in ("A whole run", "Step by step", "The plan, step by step", "What saves it",
                 "One call over the resolution"):  # fmt: skip
        assert told in text


def test_several_runs_are_one_report(attnscope, runs, tmp_path):
    reported.convergence(runs / "convergence-b", 3.0)
    both = runs / "convergence-a", runs / "convergence-b"
    code, _, _ = attnscope("report", *both, "--out", tmp_path / "both.html")
    assert code == 0
    assert "2 runs of convergence" in (tmp_path / "both.html").read_text("utf-8")
    assert attnscope("report", *both)[0] == 0
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "report takes a run directory or more: 'attnscope runs' lists them"),
        (["nowhere"], "'nowhere' is no run directory"),
        (["runs/unfinished"], "did not come to its end: give the same 'ablate' command again"),
        (["runs/convergence-a", "runs/generate <b>"], "have nothing in common"),
        (["runs/convergence-a", "runs/convergence-a"], "is given twice"),
        (["runs/convergence-a", "--out", "runs"], "--out 'runs' is a folder: name a .html or .htm in it"),
        (["runs/convergence-a", "--out", "a.pdf"], "--out 'a.pdf' is not a .html or .htm in a folder that exists"),
        (["runs/convergence-a", "--out", "no/a.html"], "is not a .html or .htm in a folder that exists"),
        (["runs/convergence-a", "--out", "a.html", "--bundle", "b"], "give one"),
        (["runs/convergence-a", "--quiet", "--json"], "give one"),
        (["--bundle", "runs"], "--bundle 'runs' is not empty and holds no site of before"),
        (["--bundle", "runs/convergence-a/run.json"], "is a file: choose a folder"),
        (["--bundle", "no/site"], "stands in a folder that does not exist"),
        (["nowhere", "--bundle", "site"], "'nowhere' is no folder"),
        (["empty", "--bundle", "site"], "there are no runs in empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_reported_is_said_in_one_line(attnscope, runs, tmp_path, args, said):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, out, err = attnscope("report", *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert said in err
    assert sorted(tmp_path.rglob("*")) == before


def test_images_that_are_gone_are_named_and_no_report_is_written(attnscope, runs):
    (runs / "generate <b>/baseline/00002.png").unlink()
    code, out, err = attnscope("report", runs / "generate <b>")
    assert (code, out) == (2, "")
    assert "baseline/00002.png' of the run is gone" in err
    assert not (runs / "generate <b>/report.html").exists()


def test_a_site_has_a_page_for_every_run_and_an_index(attnscope, runs, tmp_path):
    site = tmp_path / "site"
    code, out, err = attnscope("report", "--bundle", site)
    assert (code, out) == (0, f"site: {site}/index.html (2 pages)\n")
    assert err.startswith("warning: no page of unfinished: ")
    assert err.count("\n") == 1
    names = {"convergence-a.html", "generate-b.html", "index.html"}
    assert {path.name for path in site.iterdir()} == names
    index = (site / "index.html").read_text("utf-8")
    for name in names - {"index.html"}:
        assert f'<a href="{name}">' in index
        assert '<a href="index.html">' in (site / name).read_text("utf-8")
    assert "generate &lt;b&gt;" in index
    assert "did not come to its end" in index
    # a site is written anew where one stands, and may be of chosen runs
    code, out, err = attnscope("report", runs / "convergence-a", "--bundle", site, "--json")
    assert (code, err) == (0, "")
    page = {"name": "convergence-a", "file": "convergence-a.html", "reason": None}
    assert json.loads(out) == {"index": str(site / "index.html"), "pages": [page]}


def test_runs_of_one_name_have_pages_of_their_own(attnscope, tmp_path):
    for folder in ("a", "b"):
        reported.convergence(tmp_path / folder / "index")
    code, out, _ = attnscope(
        "report", tmp_path / "a", tmp_path / "b", "--bundle", tmp_path / "site"
    )
    assert code == 0
    assert "(2 pages)" in out
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert names == {"index.html", "run-index.html", "run-index-2.html"}


def test_a_report_needs_no_torch(runs):
    code = (
        "import sys; from attnscope.cli.app import main\n"
        "import atexit; atexit.register(lambda: print('torch' in sys.modules))\n"
        f"sys.argv = ['attnscope', 'report', {str(runs / 'generate <b>')!r}, '--quiet']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_names_that_differ_by_case_alone_have_files_that_no_system_takes_for_one(
    attnscope, tmp_path
):
    for folder, name in (("a", "Index"), ("b", "Run"), ("c", "run")):
        reported.convergence(tmp_path / folder / name)
    folders = [tmp_path / folder for folder in "abc"]
    assert attnscope("report", *folders, "--bundle", tmp_path / "site")[0] == 0
    names = {path.name.lower() for path in (tmp_path / "site").iterdir()}
    assert names == {"index.html", "run-index.html", "run.html", "run-2.html"}


def test_an_index_says_where_its_pages_are_and_how_many_prompts_runs_have(attnscope, tmp_path):
    reported.generate(tmp_path / "runs" / "made")
    code, out, _ = attnscope("report", tmp_path / "runs", "--bundle", tmp_path / "site")
    assert (code, "(1 page)" in out) == (0, True)
    index = (tmp_path / "site" / "index.html").read_text("utf-8")
    page = (tmp_path / "site" / "made.html").read_text("utf-8")
    assert "Each page is a file beside this one" in index
    assert "Everything is in this file" not in index
    assert "Everything is in this file: it loads nothing." in page
    assert f"<td>{len(reported.HOSTILE)}</td>" in index
