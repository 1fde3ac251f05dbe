"""The page of review or label in a process of its own, and how a person with a keyboard answers it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

WAIT_MS = 120_000


@dataclass
class Page:
    """A page in a process of its own."""

    process: subprocess.Popen
    address: str


def start(*words: object) -> Page:
    command = [sys.executable, "-m", "catseye", *words, "--port", 0, "--device", "cpu", "--json"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=dict(os.environ))
    text = ""
    while not text.endswith("}\n"):
        piece = process.stdout.readline().decode()
        if not piece:
            process.stdout.close()
            raise AssertionError(f"the page did not start ({process.wait(60)})")
        text += piece
    return Page(process, json.loads(text)["address"])


def end(page: Page, how=signal.SIGTERM) -> None:
    page.process.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        page.process.wait(30)
    page.process.kill()
    page.process.wait()
    page.process.stdout.close()


def open_page(browser, watch, page: Page, **options):
    opened = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}).new_page()
    opened.set_default_timeout(WAIT_MS)
    watch(opened, page.address, "blob:", "data:")
    opened.goto(page.address)
    opened.wait_for_selector("html[data-ready]")
    return opened


def number_of(page) -> str:
    return page.evaluate("document.documentElement.dataset.number")


def answer(page, truth: dict[str, str], *, wait: bool = True) -> None:
    """Decide the question that is shown, with keys alone; `truth` is by the name that the page shows."""
    before = number_of(page)
    shown = page.locator("#stage figcaption").first
    said, name = shown.locator("b").inner_text(), page.locator("#queue [aria-current] span").first.inner_text()
    likely = page.locator("#accept")
    if said == truth[name]:
        page.keyboard.press("k")
    elif likely.is_visible() and truth[name] in likely.inner_text():
        page.keyboard.press("Enter")
    else:
        page.keyboard.press("r")
        page.keyboard.type(truth[name][:3])
        page.keyboard.press("Enter")
    if wait:
        page.wait_for_selector(f"html:not([data-number='{before}'])", state="attached")
