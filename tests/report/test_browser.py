"""The report in a real Chromium, from disk: nothing on its console, and everything on it works."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, Request, expect, sync_playwright

from autolabel.config.compose import compose_config
from autolabel.report import report
from tests.report.reported import HOSTILE
from tests.support.outputs import labelled_scenes

pytestmark = pytest.mark.long

COUNT = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no Chromium: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    output = labelled_scenes(folder, count=COUNT, names=HOSTILE)
    (folder / "images" / "000020.jpg").unlink()
    report(compose_config("report", [f"output.uri='{output.uri}'"]))
    return folder / "labels" / "report" / "index.html"


@pytest.fixture
def page(browser: Browser, index: Path) -> Iterator[Page]:
    """The report; at its end, nothing was said on the console, no dialog opened, nothing asked for but the report."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(10_000)

    def dismiss(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    def note_foreign(request: Request) -> None:
        if not request.url.startswith(index.parent.as_uri()):
            said.append(request.url)

    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", dismiss)
    page.on("request", note_foreign)
    page.goto(index.as_uri())
    yield page
    context.close()
    assert said == []


def cards(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def test_pictures_load_and_an_image_that_is_gone_is_told(page: Page) -> None:
    expect(page.locator("#shown")).to_have_text(f"{COUNT + 1} images")
    assert page.locator(".card img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.select_option("#sort", "id")
    expect(page.locator(".card", has_text="000020.jpg")).to_contain_text("missing: not there")


def test_filters_by_category_status_and_score(page: Page) -> None:
    page.select_option("#by-status", "rejected")
    expect(page.locator("#shown")).to_have_text(f"1 image of {COUNT + 1}")
    expect(page.locator(".card")).to_contain_text("truncated: ends early")
    page.select_option("#by-status", "empty")
    assert all("nothing found" in text for text in page.locator(".card").all_inner_texts())
    page.locator("#reset").click()
    expect(page.locator("#shown")).to_have_text(f"{COUNT + 1} images")
    page.select_option("#by-category", label="unicorn")
    expect(page.locator("#shown")).to_have_text(f"0 images of {COUNT + 1}")
    page.select_option("#by-category", label="round")
    expect(page.locator("#shown")).not_to_have_text(f"0 images of {COUNT + 1}")
    chips = page.locator(".card .chips").all_inner_texts()
    assert chips
    assert all("round" in text for text in chips)
    page.locator("#score-from").fill("0.95")
    expect(page.locator("#score-from-shown")).to_have_text("0.95")
    page.locator(".card").first.click()
    found = page.locator(".found button").all_inner_texts()
    assert any("round" in text and float(re.findall(r"\d\.\d\d", text)[0]) >= 0.95 for text in found)


def test_sorts_by_doubt_id_and_number_of_instances(page: Page) -> None:
    doubts = [
        float(text) for text in re.findall(r"doubt (\d\.\d\d)", " ".join(page.locator(".card").all_inner_texts()))
    ]
    assert len(doubts) == 24
    assert doubts == sorted(doubts, reverse=True)
    page.select_option("#sort", "instances")
    numbers = [int(n) for n in re.findall(r"(\d+) instances?\b", " ".join(page.locator(".card").all_inner_texts()))]
    assert numbers == sorted(numbers, reverse=True)
    page.select_option("#sort", "id")
    page.locator("#more").click()
    names = cards(page)
    assert len(names) == COUNT + 1
    assert names == sorted(names)
    expect(page.locator("#more")).to_be_hidden()


def test_file_names_full_of_markup_stay_text(page: Page) -> None:
    page.select_option("#sort", "id")
    page.locator("#more").click()
    assert set(HOSTILE) < set(cards(page))
    for name in HOSTILE:
        page.locator(".card", has_text=name).click()
        expect(page.locator("#viewer-title")).to_have_text(name)
        expect(page.locator("#viewer img")).to_be_visible()
        page.keyboard.press("Escape")
    assert page.locator("script").count() == 2
    assert page.locator("#main img:not(.card img)").count() == 0


def test_the_viewer_by_keyboard(page: Page) -> None:
    page.select_option("#sort", "instances")
    names = cards(page)
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text(names[0])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-title")).to_have_text(names[1])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-title")).to_have_text(names[0])
    page.locator(".found button").nth(1).focus()
    expect(page.locator(".mark rect")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(".card").first).to_be_focused()


def test_charts_follow_their_category(page: Page) -> None:
    bars = page.locator("#chart-scores .bar:not(.candidate)")
    of_all = bars.count()
    page.select_option("#chart-category", label="angular")
    assert 0 < bars.count() < of_all
    expect(page.locator("#chart-scores .limit-text")).to_have_text("threshold")
    page.select_option("#chart-category", label="unicorn")
    expect(bars).to_have_count(0)


def test_light_and_dark(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.locator("#theme").click()
    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light  # remembered


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    pairs = [
        (text, ground) for text in ("--ink", "--faint", "--warm") for ground in ("--paper", "--raised", "--sunken")
    ]
    for text, ground in [*pairs, ("--warm", "--warm-ground")]:
        assert contrast(color(page, text), color(page, ground)) >= 4.5, (text, ground)


def color(page: Page, name: str) -> list[int]:
    page.evaluate("name => { document.body.style.outlineColor = `var(${name})` }", name)
    text = page.evaluate("getComputedStyle(document.body).outlineColor")
    return [int(channel) for channel in re.findall(r"\d+", text)[:3]]


def contrast(first: list[int], second: list[int]) -> float:
    """WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of relative luminances."""
    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def luminance(rgb: list[int]) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_horizontal_scroll(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".card").first.click()
    expect(page.locator("#viewer img")).to_be_visible()
    assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_nothing_is_cut_at_the_side(page: Page, width: int) -> None:
    """Neither the navigation nor a table needs a scroll of its own."""
    page.set_viewport_size({"width": width, "height": 780})
    for link in page.locator(".top nav a").all():
        box = link.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    for table in page.locator(".stacked").all():
        assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


Place = tuple[float, float, float, float]


def places(page: Page, selector: str) -> list[Place]:
    """Return (x0, y0, x1, y1) of elements on the screen."""
    boxes = "elements => elements.map(e => e.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    return [tuple(box) for box in page.locator(selector).evaluate_all(boxes)]


@pytest.mark.parametrize("width", [400, 1400])
def test_scores_are_of_one_size_and_on_their_objects(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.select_option("#sort", "instances")
    page.locator(".card").first.click()
    texts = page.locator(".scores text")
    expect(texts.first).to_be_visible()
    listed = page.locator(".found .score").all_inner_texts()
    assert len(listed) > 3
    assert set(texts.all_text_contents()) <= set(listed)
    shown = page.locator("#scores-shown").inner_text()
    assert shown == ("Scores" if texts.count() == len(listed) else f"Scores, {texts.count()} of {len(listed)}")
    chips = places(page, ".scores rect")
    assert all(
        x1 - x0 == pytest.approx(32, abs=0.5) and y1 - y0 == pytest.approx(18, abs=0.5) for x0, y0, x1, y1 in chips
    )
    assert not any(meet(one, other) for n, one in enumerate(chips) for other in chips[:n])
    (frame,) = places(page, ".frame")
    assert all(inside(chip, frame) for chip in chips)
    # Each is on its object, or a line leads there.
    ends = "all => all.map(line => ['x1', 'y1', 'x2', 'y2'].map(name => Number(line.getAttribute(name))))"
    lines = page.locator(".scores line.lead").evaluate_all(ends)
    n_on_their_object = 0
    for number, score in enumerate(listed):
        page.locator(".found button").nth(number).hover()
        (box,) = places(page, ".mark rect")
        for chip in (chip for chip, text in zip(chips, texts.all_text_contents(), strict=True) if text == score):
            x, y = (chip[0] + chip[2]) / 2 - frame[0], (chip[1] + chip[3]) / 2 - frame[1]
            x, y = next(((px, py) for lx, ly, px, py in lines if abs(lx - x) < 1 and abs(ly - y) < 1), (x, y))
            n_on_their_object += box[0] - 1 <= x + frame[0] <= box[2] + 1 and box[1] - 1 <= y + frame[1] <= box[3] + 1
    assert n_on_their_object >= len(chips)
    page.locator("#with-scores").uncheck()
    expect(texts).to_have_count(0)


def meet(a: Place, b: Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a: Place, b: Place) -> bool:
    return b[0] - 1 <= a[0] and b[1] - 1 <= a[1] and a[2] <= b[2] + 1 and a[3] <= b[3] + 1


def test_categories_are_sorted_by_what_is_clicked_most_instances_first(page: Page) -> None:
    names = page.locator("#categories tbody th").all_inner_texts
    numbers = [int(text) for text in page.locator("#categories tbody td:nth-child(3)").all_inner_texts()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 3
    by_instances = names()
    page.get_by_role("button", name="Category", exact=True).click()
    assert names() == sorted(by_instances)
    page.get_by_role("button", name="Category", exact=True).click()
    assert names() == sorted(by_instances, reverse=True)
    page.locator("#categories").get_by_role("button", name="Instances").click()
    assert names() == by_instances
    expect(page.locator("#categories th[aria-sort]")).to_have_attribute("aria-sort", "descending")


def test_ticks_are_round_numbers_and_none_covers_another(page: Page) -> None:
    for chart in ("#chart-scores", "#chart-areas", "#chart-counts"):
        texts = places(page, f"{chart} text:not(.limit-text)")
        assert len(texts) > 5
        assert not any(meet(one, other) for n, one in enumerate(texts) for other in texts[:n]), chart
        upwards = page.locator(f"{chart} text[x='38']").all_text_contents()
        numbers = [int(text) for text in upwards]
        step = numbers[1]
        assert numbers == [step * n for n in range(len(numbers))]
        assert str(step).rstrip("0") in {"1", "2", "5"}
