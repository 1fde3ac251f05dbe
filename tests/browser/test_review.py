"""The pages of review and label in a headless Chromium: planted wrong labels are put right by keyboard alone."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from catseye.data.sources.corrections import read_corrections, standing
from tests.browser.overflow import TOO_WIDE, require_whole
from tests.browser.review_page import WAIT_MS, answer, end, number_of, open_page, start
from tests.walks.conftest import CLASSES, draw, snapshot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
sync_api.expect.set_options(timeout=WAIT_MS)
EACH, WRONG = 30, 5  # images of a class; wrong labels in all


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Clean images; the same with wrong labels; name in the second -> true class."""
    root, rng = tmp_path_factory.mktemp("review"), np.random.default_rng(3)
    for kind in CLASSES:
        (root / "clean" / kind).mkdir(parents=True)
        for number in range(EACH):
            draw(kind, rng).save(root / "clean" / kind / f"{kind[:2]}{number:02d}.png")
    shutil.copytree(root / "clean", root / "wrong")
    for number in range(WRONG):
        kind, said = CLASSES[number % 3], CLASSES[(number + 1 + number // 3) % 3]
        name = f"{kind[:2]}{4 * number + 1:02d}.png"
        (root / "wrong" / kind / name).rename(root / "wrong" / said / name)
    by_start = {kind[:2]: kind for kind in CLASSES}
    truth = {str(p.relative_to(root / "wrong")): by_start[p.name[:2]] for p in (root / "wrong").rglob("*.png")}
    return root, truth


@pytest.fixture(scope="module")
def corrected(browser, folders):
    """Every question answered; in the middle the process is killed. Answers kept before the kill, and the file."""
    root, truth = folders
    out, before = root / "corrections.csv", snapshot(root / "wrong")
    trouble: list[str] = []

    def watch(page, *own):
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith(own) else trouble.append(one.url))

    running = start("review", root / "wrong", "--out", out)
    page = open_page(browser, watch, running)
    for _ in range(3):
        answer(page, truth)
    confirmed = int(page.locator("#num-decisions").inner_text())
    end(running, signal.SIGKILL)
    page.context.close()
    kept = len(read_corrections(out)[0])
    running = start("review", root / "wrong", "--out", out)
    page = open_page(browser, watch, running)
    while number_of(page) != "none":
        answer(page, truth)
    page.context.close()
    end(running)
    assert trouble == []
    assert snapshot(root / "wrong") == before
    return confirmed, kept, out


def test_a_kill_loses_no_confirmed_decision(corrected):
    confirmed, kept, _ = corrected
    assert confirmed == 3
    assert kept == 3


def test_the_planted_labels_are_found(corrected, folders):
    _, truth = folders
    found = {row.image: row.new for _, row in standing(read_corrections(corrected[2])[0]).by_digest.values()}
    planted = {name for name, kind in truth.items() if not name.startswith(kind)}
    assert len(planted) == WRONG
    assert sum(found.get(name) == truth[name] for name in planted) >= WRONG - 1


@pytest.fixture(scope="module")
def review(folders):
    root, _ = folders
    running = start("review", root / "wrong", "--out", root / "other.csv")
    yield running
    end(running)


def test_undo_merge_and_a_new_class(browser, watch, review, folders):
    page = open_page(browser, watch, review)
    first = number_of(page)
    page.keyboard.press("r")
    page.keyboard.type("hexagon")
    sync_api.expect(page.locator("#options")).to_contain_text("hexagon (new class)")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"html:not([data-number='{first}'])", state="attached")
    page.keyboard.press("u")
    page.wait_for_selector(f"html[data-number='{first}']", state="attached")
    sync_api.expect(page.locator("#num-decisions")).to_have_text("0")
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#num-decisions")).to_have_text("1")
    page.keyboard.press("u")
    sync_api.expect(page.locator("#num-decisions")).to_have_text("0")
    rows, _ = read_corrections(folders[0] / "other.csv")
    assert [row.kind for row in rows] == ["relabel", "undo", "merge", "undo"]
    page.context.close()


def test_typing_chooses_among_classes(browser, watch, review):
    page = open_page(browser, watch, review)
    page.keyboard.press("r")
    page.keyboard.type("S")
    sync_api.expect(page.locator("#options li")).to_contain_text(["square", "stripes", "S (new class)"])
    page.keyboard.press("ArrowDown")
    sync_api.expect(page.locator("#options [aria-selected=true]")).to_have_text("stripes")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#choose")).to_be_hidden()
    page.context.close()


def test_a_second_page_is_refused(review, folders, catseye_command_here):
    done = catseye_command_here("review", folders[0] / "wrong", "--out", folders[0] / "other.csv", "--port", 0)
    assert done.returncode == 2
    assert "another page writes to" in done.stderr


@pytest.fixture
def catseye_command_here():
    def run(*words):
        command = [sys.executable, "-m", "catseye", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_review_is_whole_at_every_width_and_axe_finds_nothing_serious(browser, watch, review):
    page = open_page(browser, watch, review, viewport={"width": 360, "height": 800})
    require_whole(page)
    page.keyboard.press("r")
    require_whole(page)
    page.set_viewport_size({"width": 3840, "height": 2000})
    assert page.evaluate(TOO_WIDE) == []
    page.context.close()


@pytest.fixture(scope="module")
def label(folders):
    """Images of two classes without folders; truth by the beginning of the name."""
    root, _ = folders
    (root / "loose").mkdir()
    for path in [*(root / "clean" / "circle").iterdir(), *(root / "clean" / "stripes").iterdir()]:
        shutil.copy2(path, root / "loose" / path.name)
    running = start("label", root / "loose", "--classes", "circle,stripes", "--out", root / "labels.csv")
    yield running
    end(running)


def test_label_learns_from_keys(browser, watch, label, folders):
    root, _ = folders
    before = snapshot(root / "loose")
    page = open_page(browser, watch, label)
    for number in range(24):
        name = page.locator("#name").inner_text()
        page.keyboard.press("1" if name.startswith("ci") else "2")
        page.wait_for_selector(f"html[data-decided='{number + 1}']", state="attached")
    sync_api.expect(page.locator("#estimate")).to_contain_text("%")
    page.keyboard.press("u")
    page.wait_for_selector("html[data-decided='23']", state="attached")
    page.keyboard.press("Enter")  # the proposal
    page.wait_for_selector("html[data-decided='24']", state="attached")
    require_whole(page)
    page.context.close()
    rows, _ = read_corrections(root / "labels.csv")
    given = [row for _, row in standing(rows).by_digest.values()]
    assert len(given) == 24
    assert sum((row.new == "circle") == Path(row.image).name.startswith("ci") for row in given) >= 23
    assert snapshot(root / "loose") == before
