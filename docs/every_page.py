"""Every page at three widths, light and dark, to be looked at: `python -m docs.every_page FOLDER [NAME…]`, at the root.

Generated images with a few faults are checked and learnt; the run is measured, explained and exported; then all that
catseye writes as a page or serves as one is taken whole, with images in it where it takes some. Says which is wider
than its window or complained in its console, and ends with 1 where one did. What is made first is kept in FOLDER/made
and used again; NAMEs take only the pages whose names begin so. Needs Chromium and playwright; ten minutes.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docs.screenshots import CAMERA, CLASSES, FLAGS, WAIT_MS, labelled, taught
from docs.started import started
from tests.browser.camera import film
from tests.browser.overflow import TOO_WIDE
from tests.stranger_sets import write_set

import catseye
from catseye.lab.page_files import read_pages

WIDTHS, SCHEMES = (360, 768, 1280), ("light", "dark")
HEIGHT_PX, SETTLE_MS = 900, 2000


@dataclass(frozen=True)
class Place:
    """A page: how to get its address, and what a visitor does on it before it is taken."""

    address: Callable[[], str]
    act: Callable[[Any], None]


def plain(page: Any) -> None:
    """As it opens; what is computed for it is waited for."""
    state = page.locator("#state")
    if state.count() and "Measuring" in state.inner_text():
        state.get_by_text("Measured.").wait_for()


def unfolded(page: Any) -> None:
    """With all its sections open."""
    closed = "details:not([open]):not(.zoom) > summary"  # a thumbnail stays small
    page.locator(closed).evaluate_all("all => all.forEach(one => one.click())")
    page.locator("img[loading=lazy]").evaluate_all("all => all.forEach(one => { one.loading = 'eager'; })")


def asked(images: list[Path]) -> Callable[[Any], None]:
    """The server's page: some images classified."""

    def act(page: Any) -> None:
        page.set_input_files("#file", images)
        page.wait_for_selector("#bars li")
        unfolded(page)

    return act


def make(made: Path) -> None:
    """The images, a run, its files; into a folder that is used again."""
    if (made / "done").exists():
        return
    shutil.rmtree(made, ignore_errors=True)
    photos = write_set("photos", made / "photos")
    shutil.copy(photos / "disc" / "003.jpg", photos / "disc" / "again.jpg")
    shutil.copy(photos / "disc" / "004.jpg", photos / "ring" / "two labels.jpg")
    for number in (5, 6, 7):
        (photos / "ring" / f"{number:03d}.jpg").rename(photos / "triangle" / f"wrong-{number}.jpg")
    (photos / "disc" / "cut-off.jpg").write_bytes((photos / "disc" / "001.jpg").read_bytes()[:900])
    fresh = write_set("photos", made / "new", seed=1)
    (made / "loose").mkdir()
    for label in CLASSES:
        for path in sorted((fresh / label).iterdir())[:20]:
            shutil.copy(path, made / "loose" / f"{label}-{path.name}")
    catseye.check(photos, out=made / "check")
    catseye.evaluate(catseye.train("digits", model="lenet5", epochs=5, out=made / "digits", device="cpu"), corrupt=True)
    run = catseye.train(photos, out=made / "shapes", device="cpu").path
    catseye.evaluate(run)
    catseye.export(run)
    image = fresh / "ring" / "002.jpg"
    catseye.explain_kernels(run, image, out=made / "kernels", device="cpu")
    catseye.explain_feature_maps(run, image, out=made / "feature-maps", device="cpu")
    catseye.explain_receptive_field(run, image, out=made / "receptive-field", device="cpu")
    catseye.explain_gradient_flow(out=made / "gradient-flow")
    film(made / "disc.y4m", "disc")
    (made / "done").touch()


@contextmanager
def every_page(made: Path) -> Iterator[dict[str, Place]]:
    """Name -> page. A server starts when its first page is asked for, and runs until the end of the block."""
    make(made)
    images = [made / "new" / label / f"{number:03d}.jpg" for number in (0, 1) for label in CLASSES]
    (made / "labels.csv").unlink(missing_ok=True)
    with ExitStack() as stack:

        def at(*words: object) -> Callable[[], str]:
            return cache(lambda: stack.enter_context(started(*words)))

        lab, server = at("lab", made / "digits"), at("serve", made / "shapes" / "export" / "model.onnx", "--quiet")
        pages = [path for path, page in read_pages().items() if page.content_type.startswith(b"text/html")]
        files = {"report": made / "shapes" / "report.html", "report-digits": made / "digits" / "report.html"}
        files |= {"check": made / "check" / "check.html"}
        explained = ("kernels", "feature-maps", "receptive-field", "gradient-flow")
        files |= {f"explain-{name}": made / name / "index.html" for name in explained}
        label = at("label", made / "loose", "--classes", ",".join(CLASSES), "--out", made / "labels.csv")
        yield {
            **{name: Place(path.as_uri, unfolded) for name, path in files.items()},
            **{f"lab{path.replace('/', '-').rstrip('-')}": Place(below(lab, path), plain) for path in sorted(pages)},
            "lab-teach": Place(below(lab, "/teach/"), plain),
            "serve-empty": Place(server, plain),
            "serve": Place(server, asked(images)),
            "serve-docs": Place(below(server, "/docs"), plain),
            "review": Place(at("review", made / "shapes", "--out", made / "corrections.csv"), plain),
            "label": Place(label, labelled),
            "teach": Place(at("teach", "--classes", "disc,cross"), taught),
        }


def below(server: Callable[[], str], path: str) -> Callable[[], str]:
    """One page of a server."""
    return lambda: server() + path


def take(browser: Any, name: str, place: Place, out: Path) -> Iterator[tuple[str, list[str]]]:
    """Screenshots of a page: which, and what is wrong with it there. Loaded narrow, as on a phone, then widened."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": HEIGHT_PX}, color_scheme=SCHEMES[0])
    page.set_default_timeout(WAIT_MS)
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    address = place.address()
    page.goto(address)
    if not address.startswith("file:"):
        page.wait_for_selector("html[data-ready]")
    place.act(page)
    page.wait_for_timeout(SETTLE_MS)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT_PX})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(SETTLE_MS // 4)
            whole = page.evaluate("document.documentElement.scrollWidth")
            if whole > width:
                wrong.append(f"{whole} px wide")
            wrong += [f"sticks out: {element}" for element in page.evaluate(TOO_WIDE)]
            page.screenshot(path=str(out / f"{name}-{width}-{scheme}.png"), full_page=True)
            yield f"{name} {width} {scheme}", wrong
            wrong.clear()
    page.close()


def main(out: Path, names: tuple[str, ...]) -> int:
    """Take them all."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    faults = 0
    with every_page(out / "made") as found, sync_playwright() as playwright:
        flags = [*FLAGS, *CAMERA, f"--use-file-for-fake-video-capture={out / 'made' / 'disc.y4m'}"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for name, place in found.items():
            if names and not name.startswith(names):
                continue
            for which, wrong in take(browser, name, place, out):
                faults += len(wrong)
                print(which, *wrong, sep="  ", flush=True)
        browser.close()
    return int(faults > 0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("python -m docs.every_page FOLDER [NAME…]")
    raise SystemExit(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
