"""The page of teach in a headless Chromium whose camera is a film: what it answers is what `catseye predict` says."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from catseye.models.pretrained import DEFAULT_BACKBONE, weights_at_hand
from tests.browser.camera import film
from tests.browser.conftest import ARGUMENTS
from tests.browser.overflow import TOO_WIDE, require_whole
from tests.browser.test_review import WAIT_MS, end, start

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not weights_at_hand(DEFAULT_BACKBONE), reason="needs the package of the extra 'pretrained'"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
KINDS = ("disc", "cross")
NUM = 12  # frames of a class


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The page in a process of its own, and where it keeps what it learns."""
    root = tmp_path_factory.mktemp("teach")
    running = start("teach", "--classes", "thing 1,cross", "--out", root / "kept")
    yield running, root
    end(running, signal.SIGTERM)


@pytest.fixture(scope="module")
def in_front_of(lesson):
    """`in_front_of(kind)`: a page whose camera sees that, and the frames it has answered since, with the answers."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    running, root = lesson
    opened, trouble = [], []
    with sync_api.sync_playwright() as started:

        def show(kind, **options):
            for browser in opened:
                browser.close()
            seen = f"--use-file-for-fake-video-capture={film(root / f'{kind}.y4m', kind)}"
            opened[:] = [started.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, seen])]
            page = opened[0].new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
            page.set_default_timeout(WAIT_MS)
            own = (running.address, "blob:", "data:")
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
            page.on("request", lambda one: None if one.url.startswith(own) else trouble.append(one.url))
            answers = []

            def keep(request):
                if request.url.endswith("/api/answer"):
                    with contextlib.suppress(sync_api.Error):  # the page was closed meanwhile
                        answers.append((request.post_data_buffer, request.response().json()))

            page.on("requestfinished", keep)
            page.goto(running.address)
            page.wait_for_selector("html[data-ready]")
            page.wait_for_selector("#video")
            sync_api.expect(page.locator("#no-camera")).to_be_hidden()
            return page, answers

        yield show
        for browser in opened:
            browser.close()
    assert trouble == []


def hold(page, number: int) -> None:
    """Hold the key of a class until enough frames are recorded."""
    page.wait_for_timeout(500)  # until the film runs
    page.keyboard.down(str(number + 1))
    enough = re.compile(rf"^({NUM}|{NUM + 1}|{NUM + 2}|{NUM + 3}|{NUM + 4}|{NUM + 5})$")
    sync_api.expect(page.locator(".count").nth(number)).to_have_text(enough)
    page.keyboard.up(str(number + 1))
    sync_api.expect(page.locator(".strip").nth(number).locator("img")).to_have_count(5)


@pytest.fixture(scope="module")
def taught(in_front_of, lesson):
    """Both classes recorded, the first one renamed, and the model kept."""
    for number, kind in enumerate(KINDS):
        page, _ = in_front_of(kind)
        hold(page, number)
    page.locator("input[type=text]").first.fill("disc")
    page.keyboard.press("Tab")
    sync_api.expect(page.locator("#answer")).to_contain_text("cross")
    page.click("#keep")
    sync_api.expect(page.locator("#kept")).to_contain_text("the model are kept in")
    return lesson[1] / "kept"


def asked_again(model, answers, folder):
    """What `catseye predict` says of the frames that the page has sent."""
    folder.mkdir()
    for number, (content, _) in enumerate(answers):
        (folder / f"{number:03d}.jpg").write_bytes(content)
    words = [sys.executable, "-m", "catseye", "predict", model, folder, "--device", "cpu", "--json"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def compare(answers, told) -> None:
    assert len(answers) == len(told) >= 2
    for (_, page_says), predict_says in zip(answers, told, strict=True):
        assert page_says["unknown"] == predict_says["unknown"]
        shares = {one["label"]: one["share"] for one in page_says["shares"]}
        assert predict_says["class"] == page_says["label"]
        assert predict_says["top"][0]["probability"] == pytest.approx(shares[page_says["label"]], abs=1e-5)
        assert predict_says["familiarity"] == pytest.approx(page_says["familiarity"], abs=1e-3)


def test_the_page_knows_what_it_was_taught(in_front_of, taught):
    for kind, says in (("disc", "disc"), ("cross", "cross"), ("nothing", "None of these")):
        page, _ = in_front_of(kind)
        sync_api.expect(page.locator("#answer")).to_contain_text(says)


def test_the_page_answers_as_predict_on_the_kept_run(in_front_of, taught, tmp_path):
    for kind in (*KINDS, "nothing"):
        page, answers = in_front_of(kind)
        while len(answers) < 3:
            page.wait_for_timeout(100)
        page.close()
        kept = list(answers)
        compare(kept, asked_again(taught, kept, tmp_path / kind))


@pytest.mark.slow
def test_the_page_answers_as_predict_on_the_exported_file(in_front_of, taught, tmp_path):
    page, answers = in_front_of("disc")
    page.click("#export")
    sync_api.expect(page.locator("#kept")).to_contain_text("100% of the run's answers", timeout=300_000)
    while len(answers) < 3:
        page.wait_for_timeout(100)
    page.close()
    kept = list(answers)
    compare(kept, asked_again(taught / "export" / "model.onnx", kept, tmp_path / "frames"))


def test_the_page_is_whole_at_every_width_and_axe_finds_nothing_serious(in_front_of, taught):
    page, _ = in_front_of("cross", viewport={"width": 360, "height": 800})
    sync_api.expect(page.locator("#answer")).to_contain_text("cross")
    require_whole(page)
    page.set_viewport_size({"width": 3840, "height": 2000})
    assert page.evaluate(TOO_WIDE) == []


def test_images_come_from_files_too(in_front_of, tmp_path):
    page, _ = in_front_of("disc")
    before = int(page.locator(".count").first.inner_text())
    Image.new("RGB", (90, 60), (10, 200, 30)).save(tmp_path / "a.png")
    page.locator("#files-0").set_input_files(str(tmp_path / "a.png"))
    sync_api.expect(page.locator(".count").first).to_have_text(str(before + 1))
