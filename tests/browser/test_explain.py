"""The page of `catseye explain` at three widths, light and dark: nothing wider than the view, images open."""

import pytest
from matplotlib.figure import Figure

from catseye.explanation.figures import write_figures
from tests.browser.test_page import TOO_WIDE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    figure = Figure(figsize=(10, 4))
    figure.subplots().plot([1, 3, 2])
    folder = tmp_path_factory.mktemp("explained")
    facts = {"model": "runs/a-rather-long-name-of-a-run-folder-that-has-no-place-to-break/model.safetensors"}
    write_figures(folder, "Feature <maps>", {"features.0.conv": figure, "b & c?": figure}, facts)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_view(browser, watch, folder, scheme):
    axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-playwright-python")
    page = browser.new_page(color_scheme=scheme)
    watch(page, "file:", "data:")
    page.goto((folder / "index.html").as_uri())
    assert page.locator("h1").inner_text() == "Feature <maps>"
    for width in (1280, 768, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(TOO_WIDE.replace("'.scroll, ", "'section a, .scroll, ")) == [], width
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.screenshot(path=folder / f"{scheme}.png")
    page.locator("section a").last.click()
    assert page.evaluate("document.images[0].naturalWidth") == 1100
    page.close()
