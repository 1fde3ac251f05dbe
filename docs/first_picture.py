"""docs/first-screen.png, made anew: `python -m docs.first_picture [FILE]`, from the root of the repository.

A network learns 180 generated images, is measured and exported; the picture shows its report and the server's page with
an image that was dropped on it. Needs Chromium and playwright; two minutes.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from docs.screenshots import FLAGS, WAIT_MS
from docs.started import started
from PIL import Image
from tests.stranger_sets import write_set

import catseye

SIDE_PX = {"width": 860, "height": 900}
GROUND, GAP_PX, WIDTH_PX, NUM_COLOURS = (226, 224, 216), 24, 1400, 256


def shot(page: Any) -> Image.Image:
    """What the page shows now."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pages on one ground, in the width of a README."""
    whole = Image.new("RGB", (left.width + right.width + 3 * GAP_PX, left.height + 2 * GAP_PX), GROUND)
    whole.paste(left, (GAP_PX, GAP_PX))
    whole.paste(right, (left.width + 2 * GAP_PX, GAP_PX))
    height = round(whole.height * WIDTH_PX / whole.width)
    return whole.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)


def main(out: Path) -> None:
    """Train, measure, export, serve, look."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        photos, new = write_set("photos", Path(folder) / "photos"), write_set("photos", Path(folder) / "new", seed=1)
        run = catseye.train(photos, out=Path(folder) / "shapes", device="cpu").path
        catseye.evaluate(run)
        model = catseye.export(run).path
        images = [new / label / f"{number:03d}.jpg" for number in (0, 1) for label in ("ring", "triangle", "disc")]
        with started("serve", model, "--quiet") as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport=SIDE_PX, color_scheme="light")
            page.set_default_timeout(WAIT_MS)
            page.goto((run / "report.html").as_uri())
            report = shot(page)
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            page.set_input_files("#file", images)
            page.wait_for_selector("#bars li")
            asked = shot(page)
            browser.close()
        picture = beside(report, asked).quantize(NUM_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
        picture.save(out, optimize=True)
        print(out)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/first-screen.png"))
