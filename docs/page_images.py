"""Images of pages for the documents, retaken: `python -m docs.page_images [FOLDER]`, from the root of the repository.

first-screen.png (a report, and the server's page with an image that was dropped on it), report.png, serve.png and
check.png, of networks that learn generated photos and the digits, and of a folder with planted faults. Needs Chromium
and playwright; three minutes.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from docs.screenshots import FLAGS, WAIT_MS
from docs.started import started
from PIL import Image
from tests.stranger_sets import write_set

import catseye
from catseye.runs import Run

SIDE_PX = {"width": 860, "height": 900}
PAGE_PX = {"width": 1000, "height": 1700}
SERVER_PX = {"width": 1100, "height": 900}
CHECK_PX = {"width": 1000, "height": 1200}
GROUND, GAP_PX, WIDTH_PX, NUM_COLOURS = (226, 224, 216), 24, 1400, 256


def shot(page: Any) -> Image.Image:
    """What the page shows now."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    """With 256 colours: a third of the bytes."""
    image.quantize(NUM_COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(path)


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pages on one ground, in the width of a README."""
    whole = Image.new("RGB", (left.width + right.width + 3 * GAP_PX, left.height + 2 * GAP_PX), GROUND)
    whole.paste(left, (GAP_PX, GAP_PX))
    whole.paste(right, (left.width + 2 * GAP_PX, GAP_PX))
    height = round(whole.height * WIDTH_PX / whole.width)
    return whole.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)


def report_of(run: Run, page: Any) -> Image.Image:
    """The top of a run's report."""
    catseye.evaluate(run)
    page.goto((run.path / "report.html").as_uri())
    return shot(page)


def server_of(model: Path, images: list[Path], page: Any) -> Image.Image:
    """The server's page after the images were dropped on it."""
    with started("serve", model, "--quiet") as address:
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        page.set_input_files("#file", images)
        page.wait_for_selector("#bars li")
        return shot(page)


def checked(folder: Path, page: Any) -> Image.Image:
    """The page of `catseye check` on generated photos with faults, one kind of them opened."""
    photos = write_set("photos", folder / "photos")
    discs, rings = photos / "disc", photos / "ring"
    for number in range(6):
        shutil.copy(discs / f"{number:03d}.jpg", rings / f"copy-{number}.jpg")
    for number in range(4):
        Image.open(rings / f"{number:03d}.jpg").resize((200, 150)).save(rings / f"smaller-{number}.jpg", quality=70)
    (discs / "empty.jpg").write_bytes(b"")
    (discs / "cut-off.jpg").write_bytes((discs / "010.jpg").read_bytes()[:4_000])
    (rings / "page.jpg").write_text("<html>404</html>")
    (rings / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    Image.open(discs / "011.jpg").save(discs / "named-jpg.jpg", format="PNG")
    subprocess.run(
        [sys.executable, "-m", "catseye", "check", photos, "--out", folder / "check"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    page.goto((folder / "check" / "check.html").as_uri())
    return shot(page)


def main(out: Path) -> None:
    """Train, measure, export, serve, check, look."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)

        def page_of(size: dict[str, int]) -> Any:
            page = browser.new_page(viewport=size, color_scheme="light")
            page.set_default_timeout(WAIT_MS)
            return page

        save(checked(folder / "faults", page_of(CHECK_PX)), out / "check.png")
        photos, new = write_set("photos", folder / "photos"), write_set("photos", folder / "new", seed=1)
        run = catseye.train(photos, out=folder / "shapes", device="cpu")
        model = catseye.export(run).path
        images = [new / label / f"{number:03d}.jpg" for number in (0, 1) for label in ("ring", "triangle", "disc")]
        sides = report_of(run, page_of(SIDE_PX)), server_of(model, images, page_of(SIDE_PX))
        save(beside(*sides), out / "first-screen.png")
        save(server_of(model, images, page_of(SERVER_PX)), out / "serve.png")
        digits = catseye.train("digits", model="lenet5", epochs=12, out=folder / "digits", device="cpu")
        save(report_of(digits, page_of(PAGE_PX)), out / "report.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
