"""Every page at three widths, in light and in dark, to be looked at: `python -m docs.every_page FOLDER`, at the root.

A LeNet-5 learns the digits, is checked, measured and exported; then its report, the check of its images, the pages of
the lab and those of the server are taken whole. Says which page is wider than its window or complained in its console,
and ends with 1 where one did. Needs Chromium and playwright; ten minutes.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docs.screenshots import FLAGS, WAIT_MS
from docs.started import started

import catseye
from catseye.lab.page_files import read_pages

WIDTHS, SCHEMES = (360, 768, 1280), ("light", "dark")


@contextmanager
def addresses(folder: Path) -> Iterator[dict[str, str]]:
    """Name -> address of every page."""
    run = folder / "digits"
    catseye.train("digits", model="lenet5", epochs=5, out=run, device="cpu")
    catseye.evaluate(run)
    catseye.check("digits", out=folder / "check")
    model = catseye.export(run).path
    files = {"report": run / "report.html", "check": folder / "check" / "check.html"}
    with started("lab", run) as lab, started("serve", model, "--quiet") as server:
        pages = [path for path, page in read_pages().items() if page.content_type.startswith(b"text/html")]
        yield {
            **{name: path.as_uri() for name, path in files.items()},
            **{f"lab{path.replace('/', '-').rstrip('-')}": f"{lab}{path}" for path in pages},
            "serve": server,
            "serve-docs": f"{server}/docs",
        }


def take(browser: Any, address: str, width: int, scheme: str, file: Path) -> list[str]:
    """One screenshot, and what is wrong with the page."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    if not address.startswith("file:"):
        page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(1500)
    whole = page.evaluate("document.documentElement.scrollWidth")
    if whole > width:
        wrong.append(f"{whole} px wide")
    page.screenshot(path=str(file), full_page=True)
    page.close()
    return wrong


def main(out: Path) -> int:
    """Take them all."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    faults = 0
    with tempfile.TemporaryDirectory() as folder, addresses(Path(folder)) as found, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, address in found.items():
            for width in WIDTHS:
                for scheme in SCHEMES:
                    wrong = take(browser, address, width, scheme, out / f"{name}-{width}-{scheme}.png")
                    faults += len(wrong)
                    print(f"{name} {width} {scheme}", *wrong, sep="  ", flush=True)
        browser.close()
    return int(faults > 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python -m docs.every_page FOLDER")
    raise SystemExit(main(Path(sys.argv[1])))
