"""Pages in a real browser: what is seen, moved, sorted and reached by keyboard."""

import shutil
import warnings

import numpy as np
import pytest
import reported

from attnscope.analyses.side_by_side import listed
from attnscope.pages.bundle import write_site
from attnscope.pages.filmstrip import Filmstrip, Layer, Word
from attnscope.pages.page import Block, rendered, report
from attnscope.pages.parts import Section
from attnscope.pages.pictures import Picture

pytestmark = pytest.mark.browser
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: 'make browser' installs it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            yield browser
            browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Opens a page from disk; whatever it complains of or asks for fails the test."""
    contexts, wrong = [], []

    def opened(text, width=1200, **options):
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(text, "utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith("data:") or wrong.append(asked.url))
        page.goto(file.as_uri())
        assert wrong.pop(0) == file.as_uri()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(params=reported.MAKERS)
def made(request, tmp_path):
    return report([reported.MAKERS[request.param](tmp_path / request.param)])


def film(words=True):
    """A filmstrip whose frames say by their grey which step they are of, and a map in red over it."""
    grey = [np.full((8, 8, 3), 40 * step, np.uint8) for step in range(6)]
    red = [np.dstack([np.full((8, 8), 255, np.uint8), *[np.zeros((8, 8), np.uint8)] * 2,
                      np.full((8, 8), 50 * step, np.uint8)]) for step in range(6)]  # fmt: skip
    layers = [Layer("image", [Picture(frame, "image") for frame in grey])]
    layers += [Layer(name, [Picture(frame, name) for frame in red], over="image") for name in ("red", "circle")]  # fmt: skip
    layers += [Layer("features", [Picture(frame, "features") for frame in grey])]
    said = [Word("a"), Word("red", ["red"]), Word("circle", ["circle"]), Word(reported.HOSTILE[0])]
    part = Filmstrip("Maps", [f"step {step}" for step in range(6)], layers, said if words else ())
    return rendered("Maps", [Block("Maps", [Section("Where words go", [part])])])


def pixels(element):
    """What is seen of an element in its middle and in all four corners, a tenth of its size from the edge."""
    import io

    from PIL import Image

    seen = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    parts = [(0.5, 0.5), *((x, y) for x in (0.1, 0.9) for y in (0.1, 0.9))]
    return [seen.getpixel((int(seen.width * x), int(seen.height * y))) for x, y in parts]


def color(page, selector):
    """The colour in the middle of what is seen of an element."""
    return pixels(page.locator(selector).first)[0]


def test_a_page_of_every_command_loads_without_a_word_and_without_a_request(show, made):
    page = show(made)
    assert page.locator("h1").count() == 1
    assert page.locator("svg.drawing, figure img, table").first.is_visible()


def test_a_page_does_not_scroll_sideways_on_a_phone(show, made):
    page = show(made, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper_in_light_and_in_dark(show, made, scheme):
    page = show(made, color_scheme=scheme)
    low = page.evaluate("""() => {
      const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const ratio = color => { const [a, b] = [light(color), paper].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
      const found = [];
      for (const element of document.querySelectorAll("p, td, th button, dt, dd, h1, h2, h3, h4, summary, svg text, label")) {
        const look = getComputedStyle(element);
        const color = element.closest("svg") ? look.fill : look.color;
        if (element.getClientRects().length && ratio(color) < 4.5) found.push([element.tagName, element.className, color]);
      }
      for (const mark of document.querySelectorAll(".curve, .whisker")) {
        if (ratio(getComputedStyle(mark).stroke) < 3 && !mark.classList.contains("block")) found.push([mark.outerHTML.slice(0, 80)]);
      }
      return found;
    }""")
    assert low == []


@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_nothing_that_keeps_anybody_out(show, made, width):
    """Names, roles, contrast, headings, keyboard: what the rules of axe-core can tell."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = show(made, width=width, reduced_motion="reduce")
    for details in page.locator("summary").all():
        details.click()
    found = axe.Axe().run(page).response
    wrong = [
        (rule["id"], node["html"][:120]) for rule in found["violations"] for node in rule["nodes"]
    ]
    assert wrong == []
    assert {"color-contrast", "heading-order", "label"} & {rule["id"] for rule in found["passes"]}


def test_on_a_page_of_several_runs_their_tables_have_names_of_their_own(show, tmp_path):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = show(report([reported.convergence(tmp_path / name) for name in ("a", "b")]))
    for details in page.locator("summary").all():
        details.click()
    found = axe.Axe().run(page).response
    assert [rule["id"] for rule in found["violations"]] == []


def test_captions_that_want_to_be_more_than_text_are_text(show, tmp_path):
    page = show(report([reported.ablate(tmp_path / "a")]))
    shown = page.locator(".caption").all_text_contents()  # out of sight none is laid out
    assert shown == list(reported.HOSTILE)
    assert page.locator("select option").first.inner_text() == reported.HOSTILE[0]
    assert page.locator("img[src=x]").count() == 0
    for element in page.locator("[data-tip]").all()[:5]:
        element.hover(force=True)


def test_sorting_sorts_up_then_down_and_says_so(show, tmp_path):
    page = show(report([reported.bench(tmp_path / "a")]))
    table = page.locator("table.grid").filter(has_text="s/image").first
    head = table.locator("th").nth(2)

    def column():
        return [row.locator("td").nth(2).inner_text() for row in table.locator("tbody tr").all()]

    assert column() == ["1.00", "1.50", "2.00", "-"]
    head.locator("button").click()
    assert (column(), head.get_attribute("aria-sort")) == (
        ["1.00", "1.50", "2.00", "-"],
        "ascending",
    )
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert (column(), head.get_attribute("aria-sort")) == (
        ["2.00", "1.50", "1.00", "-"],
        "descending",
    )
    table.locator("th").nth(0).locator("button").click()
    assert head.get_attribute("aria-sort") is None
    names = [row.locator("td").nth(0).inner_text() for row in table.locator("tbody tr").all()]
    assert names == sorted(names, key=str.lower)


def test_the_slider_parts_two_images_where_it_stands(show, tmp_path):
    page = show(report([reported.generate(tmp_path / "a")]))
    slider = page.locator(".pair input")
    right, left = (250, 40, 40), (40, 220, 40)  # the plan's, the baseline's
    middle = lambda: color(page, ".pair")  # noqa: E731
    slider.fill("90")
    assert np.abs(np.subtract(middle(), left)).max() < 30
    slider.fill("10")
    assert np.abs(np.subtract(middle(), right)).max() < 30
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "13"
    assert page.locator(".pair").evaluate("e => e.style.getPropertyValue('--at')") == "13%"


def test_an_image_that_is_clicked_is_compared(show, tmp_path):
    page = show(report([reported.ablate(tmp_path / "a")]))
    page.locator("[data-prompt='2'] .thumb").nth(2).click()
    assert page.locator("[data-pick=right]").input_value() == "S^L m=2"
    assert page.locator("[data-pick=prompt]").input_value() == "2"
    shown = page.locator(".pair .under")
    thumb = page.locator("[data-prompt='2'] .thumb img").nth(2)
    assert shown.get_attribute("src") == thumb.get_attribute("src")
    assert page.locator("[data-told=right]").inner_text() == "22.0 dB, SSIM 0.900, as asked"
    page.locator("[data-pick=left]").select_option("S^F m=2")
    assert page.locator("[data-told=left]").inner_text() == "identical"


def test_one_slider_moves_all_layers_and_says_where_it_stands(show):
    page = show(film())
    slider, said = page.locator("[data-along]"), page.locator(".along output")
    assert (said.inner_text(), color(page, ".place:nth-child(2) .stack")) == (
        "step 5",
        (200, 200, 200),
    )
    for step in (0, 4, 2):
        slider.fill(str(step))
        assert said.inner_text() == f"step {step}"
        assert slider.get_attribute("aria-valuetext") == f"step {step}"
        assert color(page, ".place:nth-child(2) .stack") == (40 * step,) * 3
        part = 50 * step / 255  # of red over grey
        over = [255 * part + 40 * step * (1 - part), *[40 * step * (1 - part)] * 2]
        assert np.abs(np.subtract(color(page, ".place:nth-child(1) .stack"), over)).max() < 8
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert said.inner_text() == "step 1"


def test_words_choose_what_lies_over_the_image(show):
    page = show(film())

    def pressed():
        return {b.inner_text(): b.get_attribute("aria-pressed") for b in page.locator("[data-word]").all()}  # fmt: skip

    def shown():
        return [reel.get_attribute("aria-label") for reel in page.locator(".reel:visible").all()]

    assert pressed() == {"red": "true", "circle": "false"}
    assert shown() == ["image", "red", "features"]
    page.get_by_role("button", name="circle").click()
    assert pressed() == {"red": "false", "circle": "true"}
    assert shown() == ["image", "circle", "features"]
    assert page.locator(".words").inner_text().startswith("a red circle <img src=x")


def test_a_point_is_chosen_by_itself_and_one_slider_moves_words_points_and_features(show, tmp_path):
    made = reported.maps(tmp_path / "a", [reported.HOSTILE[0]], steps=3, points_until=2)
    page = show(report([made]), width=360)
    places = page.locator(".film .place")

    def shown(place):
        return places.nth(place).locator(".reel:visible").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")  # fmt: skip

    def seen(place):
        return pixels(places.nth(place).locator(".stack"))

    assert places.count() == 5
    assert shown(1)[1] in ("2. red", f"3. {reported.HOSTILE[0]}")  # whichever is attended to most
    assert shown(2)[1] == "from a (0.25, 0.5)"
    page.get_by_role("group", name="Point of the image").get_by_role("button").nth(1).click()
    page.get_by_role("button", name="red", exact=True).click()
    assert [shown(1)[1], shown(2)[1]] == ["2. red", "from b (0.9, 0.1)"]
    pressed = page.locator("[aria-pressed=true]").all_inner_texts()
    assert pressed == ["red", "b (0.9, 0.1)"]
    slider = page.locator("[data-along]")
    slider.fill("1")
    before = [seen(place) for place in range(5)]
    slider.fill("0")
    assert all(one != other for one, other in zip(before, [seen(n) for n in range(5)], strict=True))
    slider.fill("2")  # where no point has a map any more, the image is seen alone
    apart = [np.abs(np.subtract(seen(0)[1:], seen(place)[1:])).max() for place in (1, 2)]
    assert apart[0] > 20 > 4 > apart[1]
    left = [place.bounding_box()["x"] for place in places.all()]
    assert left[0] < left[1]  # two in a row on a phone
    assert left[2] == left[0]


def test_a_prompt_is_chosen_among_filmstrips(show, tmp_path):
    page = show(report([reported.ablate(tmp_path / "a")]))
    page.locator("[data-choose]").select_option("1")
    assert page.locator(".option:visible .title").all_inner_texts() == [reported.HOSTILE[1]]
    page.locator(".option:visible [data-along]").fill("2")
    assert color(page, ".option:not([hidden]) .stack") in [(130, 130, 130), (129, 129, 129), (131, 131, 131)]  # fmt: skip


def test_a_point_on_a_curve_leads_to_the_row_of_its_site_and_back(show, tmp_path):
    page = show(report([reported.convergence(tmp_path / "a")]), reduced_motion="reduce")
    site = reported.SITES[2][0]
    page.locator(f".thin[data-key='{site}'] circle").nth(1).click(force=True)
    row = page.locator("table.grid tr.picked")
    assert row.get_attribute("data-key") == site
    assert page.evaluate("document.activeElement.dataset.key") == site
    box = row.bounding_box()
    assert 0 <= box["y"] <= 800
    other = reported.SITES[0][0]
    page.locator(f"tr[data-key='{other}'] td").first.click()
    assert page.locator(".thin.picked").get_attribute("data-key") == other
    assert page.locator("tr.picked").count() == 1


def test_rows_are_gone_through_by_keyboard_and_lead_to_their_points(show, tmp_path):
    page = show(report([reported.convergence(tmp_path / "a")]), reduced_motion="reduce")
    rows = page.locator("tr[data-key]")
    assert [row.get_attribute("tabindex") for row in rows.all()] == ["0", "-1", "-1", "-1"]
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    site = reported.SITES[1][0]
    assert page.evaluate("document.activeElement.dataset.key") == site
    assert [row.get_attribute("tabindex") for row in rows.all()] == ["-1", "0", "-1", "-1"]
    page.keyboard.press("Enter")
    assert page.locator(".thin.picked").get_attribute("data-key") == site
    focused = "document.activeElement"
    assert page.evaluate(
        f"{focused}.matches('.drawing') && {focused}.querySelector('.picked') !== null"
    )


def test_a_chart_is_read_by_keyboard(show, tmp_path):
    page = show(report([reported.convergence(tmp_path / "a")]))
    tip = page.locator(".tip")
    assert tip.is_hidden()
    page.locator("svg.drawing").first.focus()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("step 1\n")
    page.keyboard.press("End")
    assert tip.inner_text().startswith("step 5\n")
    assert tip.get_attribute("role") == "status"
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("svg.drawing").nth(2).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "TR"


def test_pointing_at_a_chart_tells_its_values(show, tmp_path):
    page = show(report([reported.ablate(tmp_path / "a")]))
    page.locator(".dot .hit").nth(1).hover(force=True)
    assert page.locator(".tip").inner_text() == "S^F m=2: 1.250 (1.150 to 1.350)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chart_is_saved_as_svg_and_as_png(show, tmp_path, scheme):
    from PIL import Image

    page = show(report([reported.convergence(tmp_path / "a")]), color_scheme=scheme)
    for ending in ("svg", "png"):
        with page.expect_download() as waited:
            page.locator(f"[data-save={ending}]").first.click()
        assert waited.value.suggested_filename == f"relative-change-by-kind.{ending}"
        waited.value.save_as(tmp_path / f"a.{ending}")
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text.startswith("<svg")
    assert "class=" not in text
    assert "var(" not in text
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.width == 1260
        corner = sum(saved.convert("RGB").getpixel((2, 2)))
        assert corner > 700 if scheme == "light" else corner < 100
        assert len(saved.convert("RGB").getcolors(1 << 24)) > 50  # something is drawn


def test_what_a_filmstrip_shows_is_saved_as_svg_and_as_png(show, tmp_path):
    from PIL import Image

    page = show(film())
    page.locator("[data-along]").fill("4")
    place = page.locator(".place").first
    seen = np.array(pixels(place.locator(".stack")))
    for ending in ("svg", "png"):
        with page.expect_download() as waited:
            place.locator(f"[data-save={ending}]").click()
        assert waited.value.suggested_filename == f"image.{ending}"
        waited.value.save_as(tmp_path / f"a.{ending}")
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text.count("<image") == 2  # the image, and the word that is chosen upon it
    assert "data:image/png" in text
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.size == (1440, 1440)
        middle = saved.convert("RGB").getpixel((720, 720))
    assert np.abs(seen[0] - middle).max() < 8
    page.get_by_role("button", name="circle").click()
    with page.expect_download() as waited:
        page.locator(".place").nth(1).locator("[data-save=svg]").click()
    assert waited.value.suggested_filename == "features.svg"


def test_a_gallery_has_no_buttons_that_do_nothing(show, tmp_path):
    page = show(report([reported.generate(tmp_path / "a", compare=False)]))
    assert page.locator(".arms.alone .thumb img").count() == len(reported.HOSTILE)
    assert page.locator(".arms.alone button").count() == 0


def test_a_page_without_its_script_shows_all_the_same(show, tmp_path):
    page = show(report([reported.generate(tmp_path / "a")]), java_script_enabled=False)
    assert page.locator(".thumb img").first.is_visible()
    assert page.locator(".viewer").is_hidden()
    page.locator("summary").first.click()
    assert page.locator("details table").first.is_visible()


@pytest.mark.parametrize("width", [1200, 360])
def test_a_site_that_was_moved_is_whole_without_its_runs(chromium, tmp_path, width):
    """From the index to every page and back; nothing is asked for but the pages themselves."""
    names = ["generate", "convergence", "maps"]
    for name in names:
        reported.MAKERS[name](tmp_path / "runs" / name)
    write_site(listed(tmp_path / "runs"), tmp_path / "made")
    shutil.rmtree(tmp_path / "runs")
    site = (tmp_path / "made").rename(tmp_path / "else where")
    with chromium.new_context(viewport={"width": width, "height": 800}) as context:
        page, asked = context.new_page(), []
        page.on("request", lambda one: one.url.startswith("data:") or asked.append(one.url))
        page.goto((site / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert sorted(page.locator("td a").all_text_contents()) == sorted(names)
        for name in names:
            page.get_by_role("link", name=name, exact=True).click()
            page.wait_for_url(f"**/{name}.html")
            gone = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
            assert page.evaluate(gone) == 0
            page.get_by_role("link", name="All runs").click()
            page.wait_for_url("**/index.html")
        stems = [url.rpartition("/")[2].removesuffix(".html") for url in asked]
    assert stems == ["index", *(stem for name in names for stem in (name, "index"))]
