"""The images in docs/lab/, made anew at the root of the repository: `python -m docs.screenshots [FOLDER]`.

A LeNet-5 learns the digits first, so that chapter 4 has something to show. `python -m docs.screenshots --desks` makes
those of review, label and teach, in docs/guides/. Needs Chromium and playwright; two minutes each.
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
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
CLASSES = ("disc", "ring", "triangle")  # of the generated photos
NUM_LABELLED = 12


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


def labelled(page: Any) -> None:
    """The page of label: enough answers for a first estimate."""
    while int(page.evaluate("document.documentElement.dataset.decided")) < NUM_LABELLED:
        before = page.evaluate("document.documentElement.dataset.decided")
        page.keyboard.press(str(1 + CLASSES.index(page.locator("#name").inner_text().split("-")[0])))
        page.wait_for_selector(f"html:not([data-decided='{before}'])", state="attached")


def taught(page: Any) -> None:
    """The page of teach: some images of what the camera sees."""
    page.wait_for_timeout(1000)
    page.keyboard.down("1")
    page.wait_for_timeout(2500)
    page.keyboard.up("1")


# Where the script put its images concerns no reader.
WITHOUT_FOLDER = """folder => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(folder, '');
}"""


def shoot(page: Any, file: Path, num_colours: int = 256) -> None:
    """What the page shows now, in few bytes."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # what is computed for the last control
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(num_colours, dither=Image.Dither.NONE).save(file, optimize=True)
    print(file)


def desks(out: Path) -> None:
    """The pages on which a person labels or teaches, with generated photos and a camera that is a film."""
    from playwright.sync_api import sync_playwright
    from tests.browser.camera import film
    from tests.stranger_sets import write_set

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        photos, loose = write_set("photos", folder / "photos"), folder / "loose"
        loose.mkdir()
        for number in range(20):
            for label in CLASSES:
                shutil.copy(photos / label / f"{number:03d}.jpg", loose / f"{label}-{number:03d}.jpg")
        for number in (5, 6, 7):
            (photos / "ring" / f"{number:03d}.jpg").rename(photos / "triangle" / f"new-{number}.jpg")
        seen = f"--use-file-for-fake-video-capture={film(folder / 'disc.y4m', 'disc')}"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS, *CAMERA, seen])
        others = [str(path) for path in sorted((photos / "ring").iterdir())[:12]]

        def taught_two(page: Any) -> None:
            taught(page)
            page.set_input_files("#files-1", others)
            page.locator("#answer").get_by_text("disc").wait_for()

        for words, act in (
            (("review", photos, "--out", folder / "corrections.csv"), plain),
            (("label", loose, "--classes", ",".join(CLASSES), "--out", folder / "labels.csv"), labelled),
            (("teach", "--classes", "disc,ring", "--out", folder / "kept"), taught_two),
        ):
            with started(*words) as address:
                page = browser.new_page(viewport={"width": 1100, "height": 760})
                page.set_default_timeout(WAIT_MS)
                page.goto(address)
                page.wait_for_selector("html[data-ready]")
                act(page)
                page.evaluate(WITHOUT_FOLDER, f"{folder}/")
                shoot(page, out / f"{words[0]}.png", num_colours=64)  # noise takes bytes
                page.close()
        browser.close()


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
                shoot(page, out / f"{name}.png")
                page.close()
            browser.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--desks"]:
        desks(Path(sys.argv[2] if len(sys.argv) > 2 else "docs/guides"))
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/lab"))
