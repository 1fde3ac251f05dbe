"""The page of `catseye explain` at three widths, light and dark: nothing wider than the view, images open."""

import pytest
from matplotlib.figure import Figure

from catseye.explanation.figures import write_figures
from tests.browser.overflow import require_whole

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    figure = Figure(figsize=(10, 4))
    figure.subplots().plot([1, 3, 2])
    folder = tmp_path_factory.mktemp("explained")
    facts = {"model": "runs/a-rather-long-name-of-a-run-folder-that-has-no-place-to-break/model.safetensors"}
    write_figures(folder, "Feature <maps>", {"features.0.conv": figure, "b & c?": figure}, facts)
    return folder


def test_the_page_is_whole_at_every_width_and_its_images_open(browser, watch, folder):
    page = browser.new_page()
    watch(page, "file:", "data:")
    page.goto((folder / "index.html").as_uri())
    assert page.locator("h1").inner_text() == "Feature <maps>"
    require_whole(page)
    page.locator("section a").last.click()
    assert page.evaluate("document.images[0].naturalWidth") == 1100
    page.close()
