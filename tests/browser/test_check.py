"""check.html in a headless Chromium: opened from disk, with thumbnails, silent, and nothing in it runs."""

import re
import shutil

import pytest

from catseye.data.check.check import check
from tests.browser.overflow import require_whole
from tests.conftest import encode
from tests.photos import as_jpeg, photo

EVIL = "<img src=x onerror=alert(1)>"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """The page about photos on two sides, one class of which is called EVIL; with faults of every kind of thumbnail."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for seed in range(48):
        folder = root / ("train", "test")[seed % 3 == 0] / ("ant", EVIL)[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed:02d}.png").write_bytes(encode(photo(seed)))
    train, test = root / "train", root / "test"
    shutil.copy(train / EVIL / "01.png", test / EVIL / f"{EVIL}.png")  # across the split, under a name as nasty
    (test / "ant" / "near.png").write_bytes(encode(as_jpeg(photo(2), 60)))
    shutil.copy(train / EVIL / "05.png", train / "ant" / "flipped.png")
    (train / "ant" / "small.png").write_bytes(encode(photo(100, 24, 24)))  # shown with visible pixels
    (train / "ant" / "cut.png").write_bytes(encode(photo(101))[:400])  # has no thumbnail
    (train / "ant" / "pointer.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    out = tmp_path_factory.mktemp("out")
    return check(root, out=out), out / "check.html"


@pytest.fixture
def page(browser, checked, watch):
    """The opened page. Anything that it complains of, asks the network for or pops up is a failure."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    watch(opened, "file:", "data:")
    opened.goto(checked[1].as_uri())
    yield opened
    context.close()


def unfold(page):
    page.locator("details.finding:not([open]) > summary").evaluate_all("all => all.forEach(one => one.click())")


def test_every_finding_has_its_row_and_its_cases(page, checked):
    verdict = checked[0]
    assert {"leak-test-train", "near-leak-test-train", "two-labels", "tiny", "cut-off", "pointer"} <= {
        one.rule for one in verdict.findings
    }
    rows = page.locator("table").first.locator("tbody tr")
    assert rows.count() == len(verdict.findings)
    assert rows.all_inner_texts() == [f"{one.severity}\t{one.count:,}\t{one.title}" for one in verdict.findings]
    assert page.title() == f"photos: {verdict.headline()}"
    rows.nth(1).locator("a").click()
    assert page.evaluate("location.hash") == "#finding-2"


def test_thumbnails_are_there_and_whole(page, checked):
    unfold(page)
    images = page.locator(".cases img")
    for number in range(images.count()):
        images.nth(number).scroll_into_view_if_needed()  # they are drawn when they come into view
    drawn = images.evaluate_all("all => all.map(i => [i.complete, Math.max(i.naturalWidth, i.naturalHeight), i.alt])")
    assert all(complete and 24 <= side <= 240 for complete, side, _ in drawn), drawn
    shown = {name for _, _, name in drawn}
    assert {"train/ant/flipped.png", "test/ant/near.png", "train/ant/small.png", f"test/{EVIL}/{EVIL}.png"} <= shown
    assert (
        page.locator("img.enlarged").evaluate_all("all => all.map(i => getComputedStyle(i).imageRendering)")
        == ["pixelated"] * page.locator("img.enlarged").count()
    )
    assert page.locator("img.enlarged").count() >= 1
    unreadable = page.locator("figure", has_text="cut.png")
    assert unreadable.locator(".none").inner_text() == "no image"


def test_a_thumbnail_enlarges_by_pointer_and_by_key(page):
    unfold(page)
    image = page.locator(".cases img:not(.enlarged)").first
    assert image.bounding_box()["width"] == 112
    image.click()
    assert image.bounding_box()["width"] > 240
    image.locator("xpath=..").press("Enter")
    assert image.bounding_box()["width"] == 112


def test_the_page_is_whole_at_every_width_and_axe_finds_nothing_serious(page):
    unfold(page)
    require_whole(page)
    page.locator(".zoom > summary").first.click()
    require_whole(page)


def test_classes_are_named_before_anything_else_is_said(page, checked):
    assert page.locator(".lead").inner_text().startswith(f"{len(checked[0].names)} images, 2 classes: ")


def test_a_class_name_with_markup_is_shown_as_it_is(page):
    unfold(page)
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 0
    classes = page.locator("table").last.locator("tbody td:first-child").all_inner_texts()
    assert sorted(classes) == sorted(["ant", EVIL])
    assert any(caption.startswith(EVIL) for caption in page.locator("figcaption").all_inner_texts())


def test_what_is_injected_does_not_run(page, trouble):
    """The page's own policy: even markup that got into it would be refused, with a complaint in the console."""
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"owned = 1\">')")
    page.wait_for_timeout(300)
    assert page.evaluate("typeof owned") == "undefined"
    assert "violates" in trouble.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_ground_follows_the_scheme(page, scheme):
    page.emulate_media(color_scheme=scheme)
    ground = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert all(int(value) > 225 if scheme == "light" else int(value) < 30 for value in ground[:3])
