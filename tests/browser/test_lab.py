"""The lab's pages in a headless Chromium: every control does what it says, no fault in the console, nothing leaves."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from catseye.lab.chapters.table import CHAPTERS
from tests.browser.overflow import require_whole
from tests.browser.test_page import MAKE_FILE
from tests.server.running import noise, png

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
WAIT_MS = 60_000
sync_api.expect.set_options(timeout=WAIT_MS)
NAMES = [chapter.name for chapter in CHAPTERS]


@dataclass
class Lab:
    """A lab in a process of its own."""

    process: subprocess.Popen
    address: str


def start_lab(*words: object) -> Lab:
    command = [sys.executable, "-m", "catseye", "lab", *words, "--port", 0, "--json"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=dict(os.environ))
    text = ""
    while not text.endswith("}\n"):
        piece = process.stdout.readline().decode()
        assert piece, f"the lab did not start ({process.wait(60)})"
        text += piece
    return Lab(process, json.loads(text)["address"])


def end(lab: Lab) -> None:
    lab.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        lab.process.wait(30)
    lab.process.kill()
    lab.process.wait()
    lab.process.stdout.close()


@pytest.fixture(scope="module")
def lab():
    running = start_lab("lenet5")
    yield running
    end(running)


@pytest.fixture
def open_page(browser, lab, watch, trouble):
    """A page that fails the test on an error in its console or a request to anywhere else."""
    contexts, expected = [], []

    def open_(name, expect=(), **options):
        expected.extend(expect)
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        watch(page, lab.address, "blob:", "data:")
        page.goto(f"{lab.address}/{name}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()
    trouble[:] = [one for one in trouble if not any(text in one for text in expected)]


def see(page, selector: str, text: str | re.Pattern) -> None:
    sync_api.expect(page.locator(selector)).to_have_text(text, timeout=WAIT_MS)


def drop(page, color: str) -> None:
    data = page.evaluate_handle(MAKE_FILE, color)
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    page.dispatch_event("body", "drop", {"dataTransfer": data})


def slide_to(page, label: str, value: float) -> None:
    page.get_by_role("slider", name=label, exact=True).fill(str(value))


def test_the_front_page_leads_to_every_chapter(open_page):
    page = open_page("")
    for name in NAMES:
        assert page.locator(f".chapters a[href='/{name}']").count() == 1
        assert page.locator(f"nav a[href='/{name}']").count() == 1
    page.locator(".chapters a").first.click()
    page.wait_for_url("**/pixels")


def test_the_classic_example_and_a_typed_kernel_value(open_page):
    page = open_page("convolution")
    see(page, "#total", "4")
    page.get_by_label("kernel, row 1, column 3").fill("5")
    see(page, "#total", "16")  # 3 stands under it: 4 more of each
    assert page.locator("#output td.here").inner_text() == "16"
    page.get_by_label("kernel, row 1, column 3").fill("")  # on the way to another number
    page.get_by_label("kernel, row 1, column 3").fill("1")
    see(page, "#total", "4")


def test_the_window_goes_by_keys_and_buttons(open_page):
    page = open_page("convolution")
    page.locator("#output .map-stage").focus()
    page.keyboard.press("ArrowRight")
    see(page, "#place", "(0, 1)")
    page.keyboard.press("ArrowDown")
    see(page, "#place", "(1, 1)")
    page.click("#back")
    see(page, "#place", "(1, 0)")
    page.locator("#position").fill("8")
    see(page, "#place", "(2, 2)")
    page.locator("#output td").first.click()
    see(page, "#place", "(0, 0)")


def test_stride_padding_and_dilation_change_the_size(open_page):
    page = open_page("convolution", expect=["Failed to load resource"])
    see(page, "#output-size", "3 × 3")
    slide_to(page, "Padding", 1)
    see(page, "#output-size", "5 × 5")
    slide_to(page, "Stride", 2)
    see(page, "#output-size", "3 × 3")
    assert "⌊(5 + 2·1 − 1·(3 − 1) − 1) / 2⌋ + 1 = 3" in page.locator("#formula").inner_text()
    slide_to(page, "Padding", 0)
    slide_to(page, "Dilation", 4)
    sync_api.expect(page.locator("#message")).to_contain_text("the window spans 9 values")
    slide_to(page, "Dilation", 2)
    see(page, "#output-size", "1 × 1")
    sync_api.expect(page.locator("#message")).to_be_hidden()


def test_the_models_own_filters(open_page):
    page = open_page("convolution")
    page.click("button[data-name=digit-4]")
    page.locator("#model-filters summary").click()
    page.wait_for_selector("#filters button")
    assert page.locator("#filters button").count() == 6  # LeNet-5's first layer
    sync_api.expect(page.locator("#filters-say")).to_contain_text("lenet5 with fresh weights")
    page.locator("#filters button").first.click()
    see(page, "#output-size", "4 × 4")  # 8 px, kernel 5


def test_a_dropped_image_is_used_in_every_chapter(open_page):
    page = open_page("pixels")
    drop(page, "blue")
    see(page, "#shape", "(3, 8, 8)")
    see(page, "#where", re.compile("rows 1 – 5"))
    page.get_by_role("button", name="B", exact=True).click()
    see(page, "#values td >> nth=0", "255")
    page.goto(page.url.replace("pixels", "network"))
    page.wait_for_selector("html[data-ready]")
    assert page.locator(".images [aria-pressed=true]").inner_text() == "your image"


def test_what_is_no_image_is_told(open_page):
    page = open_page("pixels", expect=["Failed to load resource"])
    page.set_input_files(".images input", [{"name": "x.png", "mimeType": "image/png", "buffer": b"no image"}])
    sync_api.expect(page.locator("#message")).to_contain_text("send one JPEG, PNG, WebP")
    page.set_input_files(".images input", [{"name": "x.png", "mimeType": "image/png", "buffer": png("red")}])
    sync_api.expect(page.locator("#message")).to_be_hidden()
    see(page, "#shape", "(3, 4, 4)")


def test_the_loupe_moves_by_keys(open_page):
    page = open_page("pixels")
    before = page.locator("#where").inner_text()
    page.locator("#stage").focus()
    page.keyboard.press("ArrowDown")
    sync_api.expect(page.locator("#where")).not_to_have_text(before)
    slide_to(page, "Zoom", -3)
    sync_api.expect(page.locator("#values td")).to_have_count(9)
    slide_to(page, "Filters of the convolution", 32)
    sync_api.expect(page.locator("#cost")).to_contain_text("896 parameters")  # 3 · 3 · 3 · 32 + 32


def test_activations_and_pooling_follow_their_controls(open_page):
    page = open_page("activations")
    slide_to(page, "x", -2)
    page.get_by_role("button", name="LeakyReLU").click()
    sync_api.expect(page.locator("#table tr.chosen td").first).to_have_text("−0.02")
    page.get_by_label("grid, row 1, column 1").fill("99")
    sync_api.expect(page.locator("#max td").first).to_have_text("99")
    sync_api.expect(page.locator("#average td").first).to_have_text("31.75")
    slide_to(page, "Added to them", 3)
    sync_api.expect(page.locator("#norm-facts")).to_contain_text("→ 0")
    page.locator("#normalise").uncheck()
    sync_api.expect(page.locator("#chain")).to_contain_text("not normalised")


def test_a_click_on_a_layer_shows_its_maps(open_page):
    page = open_page("network")
    assert "fresh weights" in page.locator("#says").inner_text()
    assert page.locator("#flow button").count() == 13
    page.locator("#flow button").first.click()
    see(page, "#layer", "features.0")
    sync_api.expect(page.locator("#maps figure")).to_have_count(6)
    page.locator("#maps .map").nth(2).click(position={"x": 5, "y": 5})
    facts = page.locator("#place-facts")
    sync_api.expect(facts).to_contain_text(re.compile(r"\([01], [01]\)"))  # near the corner, however large it is drawn
    sync_api.expect(facts).to_contain_text("5 × 5 px")
    row, column = map(int, re.search(r"\((\d+), (\d+)\)", facts.inner_text()).groups())
    page.locator("#maps .map").nth(2).focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(facts).to_contain_text(f"({row}, {column + 1})")
    page.click("#find")
    sync_api.expect(page.locator("#patches figure")).to_have_count(9)
    assert "images of digits" in page.locator("#patches-say").inner_text()


def test_another_network_and_the_decision(open_page):
    page = open_page("network")
    page.select_option("#network", "residual")
    sync_api.expect(page.locator("#totals")).to_contain_text("residual")
    sync_api.expect(page.locator("#bars li")).to_have_count(10)
    shares = [float(text.rstrip("%")) for text in page.locator("#bars .value").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.6)
    page.locator("#bars button").nth(3).click()
    wanted = page.locator("#bars button").nth(3).inner_text()
    see(page, "#cam-class", wanted)
    page.get_by_role("button", name="eigencam").click()
    sync_api.expect(page.locator("#cam canvas")).to_have_count(1)


READINGS = sorted({f"read/{chapter.reading}" for chapter in CHAPTERS})


@pytest.mark.parametrize("name", ["", *NAMES, *READINGS])
def test_the_page_is_whole_at_every_width_and_axe_finds_nothing_serious(open_page, name):
    # Axe runs in the debugger's own world: the page's policy, which forbids foreign scripts, stays as users have it.
    require_whole(open_page(name, viewport={"width": 360, "height": 740}))


def test_every_control_can_be_reached_by_tab(open_page):
    page = open_page("convolution")
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))
    assert {"kernel, row 2, column 2", "Stride", "play", "divisor"} <= reached


def test_a_huge_image_is_refused_in_a_sentence(open_page):
    page = open_page("pixels", expect=["Failed to load resource"])
    page.set_input_files(".images input", [{"name": "x.png", "mimeType": "image/png", "buffer": noise(1, 3000, "PNG")}])
    sync_api.expect(page.locator("#message")).to_contain_text("a body has at most 20,000,000 bytes")
