"""report.html in a headless Chromium: opened from disk, clicked and sorted, in light and dark, on a phone."""

import numpy as np
import pytest

import catseye
from tests.browser.overflow import require_whole
from tests.conftest import write_tinted

EVIL = "<img src=x onerror=alert(1)>"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a short run on tinted images; a quarter of each class lies in the folder of the next."""
    root = write_tinted(tmp_path_factory.mktemp("data") / "tinted", 40)
    names = sorted(folder.name for folder in root.iterdir())
    for number, name in enumerate(names):
        for index in range(10):
            (root / name / f"{index:02d}.png").rename(root / names[(number + 1) % 3] / f"from-{name}-{index:02d}.png")
    (root / "blue").rename(root / EVIL)
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = {"training.batch_size": 16, "training.lr": 0.02, "data.test_fraction": 0.4}
    run = catseye.train(root, out=out, epochs=3, device="cpu", settings=settings).path
    catseye.evaluate(run, device="cpu", corrupt=True)
    return run / "report.html"


@pytest.fixture
def page(browser, report, watch):
    """The opened page. Anything that it complains of, asks the network for or pops up is a failure."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    watch(opened, "file:", "data:", "blob:")
    opened.goto(report.as_uri())
    yield opened
    context.close()


def test_a_click_on_a_cell_opens_its_images(page):
    button = page.locator("td.miss button").first
    count = int(button.inner_text())
    button.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    cards = dialog.locator(".image")
    assert cards.count() == count
    first = cards.first
    assert first.locator("img").evaluate("image => image.complete && image.naturalWidth") == 32
    assert ".png" in first.locator(".path").inner_text()
    assert "%" in first.locator(".bar-row").first.inner_text()
    assert first.locator("canvas").evaluate("c => c.width * c.height") == 16
    dialog.locator("button[aria-label=Close]").click()
    assert not dialog.is_visible()
    button.click()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_the_hottest_place_of_a_map_is_yellow_and_the_coldest_violet(page):
    drawn = page.locator("#mistakes canvas").evaluate_all(
        "all => all.map(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])"
    )
    assert len(drawn) > 5
    colours = [np.array(one).reshape(-1, 4)[:, :3].tolist() for one in drawn]
    assert all([68, 1, 84] in one for one in colours)
    assert sum([253, 231, 37] in one for one in colours) > len(colours) / 2  # some maps are empty, and violet alone


def test_a_click_on_a_heading_sorts(page):
    def column(number):
        return page.locator(f"table.sortable tbody tr > :nth-child({number})").all_inner_texts()

    page.locator("table.sortable th button", has_text="recall").click()
    falling = [float(text) for text in column(3)]
    assert falling == sorted(falling, reverse=True)
    assert page.locator("table.sortable th[aria-sort=descending]").inner_text() == "recall"
    page.locator("table.sortable th button", has_text="recall").click()
    assert [float(text) for text in column(3)] == falling[::-1]
    page.locator("table.sortable th button", has_text="class").click()
    assert column(1) == sorted(column(1))


def test_a_class_name_with_markup_is_shown_as_it_is(page):
    assert EVIL in page.locator("table.sortable").inner_text()
    page.locator("td.hit button").first.click()
    assert page.locator("img[src=x]").count() == 0
    assert EVIL in page.locator("body").inner_text()


def test_a_thumbnail_is_enlarged_and_shrinks_again(page):
    first = page.locator("#mistakes .image").first
    before = first.bounding_box()["width"]
    first.locator(".frame").click()
    assert first.bounding_box()["width"] > 1.5 * before
    page.keyboard.press("Enter")  # the button has the focus
    assert first.bounding_box()["width"] == before


def test_maps_are_shown_when_wanted_and_a_class_picked(page):
    canvas = page.locator("#mistakes canvas").first
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "0"
    page.locator("#maps").check()
    page.wait_for_function("c => getComputedStyle(c).opacity === '0.5'", arg=canvas.element_handle())
    page.locator("#maps").uncheck()
    page.wait_for_function("c => getComputedStyle(c).opacity === '0'", arg=canvas.element_handle())
    page.locator("#pick").select_option(index=1)
    value = page.locator("#pick").input_value()
    assert page.locator("#curves .line.on").count() == 2
    assert set(page.locator("#curves .line.on").evaluate_all("ls => ls.map(l => l.dataset.key)")) == {value}


def test_the_page_is_whole_at_every_width_and_axe_finds_nothing_serious(page):
    page.locator("details > summary").evaluate_all("all => all.forEach(one => one.click())")
    require_whole(page)
    page.locator("td.miss button").first.click()
    require_whole(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page, scheme):
    page.emulate_media(color_scheme=scheme)
    colours = (
        "e => { const s = getComputedStyle(e); return [s.color, getComputedStyle(document.body).backgroundColor] }"
    )
    ink, paper = page.locator("h1").evaluate(colours)
    assert contrast(ink, paper) > 7


def contrast(one, two):
    """Source: WCAG 2.1, contrast ratio."""

    def luminance(colour):
        channels = np.array([int(part) / 255 for part in colour[4:-1].split(",")[:3]])
        linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)
