"""The images in docs/lab/, made anew: `python -m docs.screenshots [FOLDER]`, from the root of the repository.

A LeNet-5 learns the digits first, so that chapter 4 has something to show. Needs Chromium and playwright; two minutes.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docs.started import started
from PIL import Image

import catseye

WAIT_MS = 120_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def plain(page: Any) -> None:
    """As it opens."""


def look_inside(page: Any) -> None:
    """Chapter 4: a digit, the maps of the first layer, the region behind one value."""
    page.click("button[data-name=digit-4]")
    page.locator("#flow button").nth(1).click()
    page.locator("#maps .map").first.click(position={"x": 40, "y": 40})


def measured(page: Any) -> None:
    """Chapter 5: wait for both towers."""
    page.locator("#state").get_by_text("Measured.").wait_for()


def learned(page: Any) -> None:
    """Chapter 6: ten epochs."""
    page.fill("#epochs", "10")
    page.click("#start")
    page.wait_for_selector("html[data-training=yes]")
    page.wait_for_selector("html[data-training=no]")


def shifted(page: Any) -> None:
    """Chapter 10: two pixels to the right."""
    page.get_by_role("slider", name="To the right", exact=True).fill("2")


def turned(page: Any) -> None:
    """Chapter 7: rotations."""
    page.get_by_role("button", name="rotation").click()


SHOTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "pixels": (plain, "light"),
    "convolution": (plain, "light"),
    "activations": (plain, "dark"),
    "network": (look_inside, "light"),
    "skips": (measured, "light"),
    "training": (learned, "light"),
    "augmentation": (turned, "light"),
    "timeline": (plain, "light"),
    "descent": (plain, "dark"),
    "shift": (shifted, "light"),
}


def main(out: Path) -> None:
    """Take them all."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        catseye.train("digits", model="lenet5", epochs=30, out=run, device="cpu")
        with started("lab", run) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name, (act, scheme) in SHOTS.items():
                page = browser.new_page(viewport={"width": 1000, "height": 1300}, color_scheme=scheme)
                page.set_default_timeout(WAIT_MS)
                page.goto(f"{address}/{name}")
                page.wait_for_selector("html[data-ready]")
                act(page)
                page.mouse.move(0, 0)
                page.wait_for_timeout(1500)  # what is computed for the last control
                image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                image.quantize(256, dither=Image.Dither.NONE).save(out / f"{name}.png", optimize=True)
                page.close()
                print(out / f"{name}.png")
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/lab"))
