"""The lab's chapters 5 to 8 in a headless Chromium: change the depth, watch a training, stop it, compare two, mix, go
through the years. What holds for every page (narrow, dark, axe) is in test_lab.py."""

import time
from pathlib import Path

import pytest

from tests.browser.test_lab import (  # noqa: F401 - the fixtures
    WAIT_MS,
    end,
    lab,
    open_page,
    pytestmark,
    see,
    start_lab,
    sync_api,
)

ROOT = Path(__file__).parents[2]
TRAINED_MS = 240_000  # of another order than a page's answer

# Inside the page: on busy cores a hundred epochs may be over before a click from outside arrives.
STOP_AFTER_AN_EPOCH = """() => new MutationObserver((_, observer) => {
    if (!/[1-9][0-9]* of 100/.test(document.querySelector("#runs").innerText)) return;
    observer.disconnect();
    document.querySelector("#stop").click();
}).observe(document.querySelector("#runs"), { childList: true, subtree: true })"""


def expect(page, selector):
    return sync_api.expect(page.locator(selector))


def measured(page):
    expect(page, "#state").to_have_text("Measured.", timeout=TRAINED_MS)


def learn(page, *, epochs, until="no"):
    page.fill("#epochs", str(epochs))
    page.click("#start")  # says yes before it returns; a short run may say no before anybody looks
    page.wait_for_selector(f"html[data-training={until}]", timeout=TRAINED_MS)


def test_a_change_of_depth_is_measured_anew(open_page):  # noqa: F811
    page = open_page("skips")
    measured(page)
    assert "1.8·10⁻⁵" in page.locator("#numbers").inner_text()  # 0.8 to the power of 49
    page.locator("#depth").fill("10")
    see(page, "#depth-number", "10")
    expect(page, "#numbers").to_contain_text("0.8 to the power of 9")
    measured(page)
    shares = [page.locator("#numbers dd").nth(index).inner_text() for index in (1, 2)]
    before = page.locator("#flow polyline.b").get_attribute("points")
    page.get_by_role("button", name="Glorot").click()
    measured(page)
    assert [page.locator("#numbers dd").nth(index).inner_text() for index in (1, 2)] != shares
    assert page.locator("#flow polyline.b").get_attribute("points") != before
    assert "--depth 10 --init glorot" in page.locator("#command").inner_text()
    page.get_by_role("button", name="after the steps").click()
    assert page.locator("#losses polyline").count() == 2
    page.locator("#depth").focus()
    page.keyboard.press("ArrowRight")
    see(page, "#depth-number", "12")


def test_three_epochs_are_watched(open_page):  # noqa: F811
    page = open_page("training")
    assert "61,706 weights" in page.locator("#state").inner_text()
    page.click("#to-end")
    assert page.locator("#filters canvas").count() == 6
    before = page.evaluate("document.querySelector('#filters canvas').toDataURL()")
    learn(page, epochs=3)
    expect(page, "#state").to_contain_text("of 359 test digits right")
    assert (
        "--epochs 3 --seed 0 --set training.optimizer=sgd --set training.lr=0.1"
        in page.locator("#command").inner_text()
    )
    assert "3 of 3" in page.locator("#runs").inner_text()
    assert page.locator("#loss polyline.beside").count() == 2  # the recorded run
    assert page.evaluate("document.querySelector('#filters canvas').toDataURL()") != before
    cells = page.locator("#confusion td:not(.corner)").all_inner_texts()
    assert sum(int(text) for text in cells if text.isdigit()) == 179
    assert page.locator("#guesses canvas").count() == 24
    page.select_option("#other", "")
    points = page.locator("#loss polyline.a").get_attribute("points").split()
    assert len(points) == 3
    assert float(points[2].split(",")[1]) > float(points[0].split(",")[1])  # downwards is less
    page.goto(page.url.replace("training", "network"))
    page.wait_for_selector("html[data-ready]")
    assert "the network you trained in chapter 6" in page.locator("#network").inner_text()


def test_a_run_is_stopped_and_two_are_compared(open_page):  # noqa: F811
    page = open_page("training")
    page.evaluate(STOP_AFTER_AN_EPOCH)
    learn(page, epochs=100)
    expect(page, "#state").to_contain_text("Stopped after")
    assert "stopped" in page.locator("#runs").inner_text()
    page.get_by_role("button", name="Adam", exact=True).click()
    see(page, "#lr-number", "0.003")
    learn(page, epochs=1)
    assert page.locator("#loss polyline.beside").count() == 2
    expect(page, "#difference").to_contain_text("optimizer sgd → adam")
    expect(page, "#difference").to_contain_text("lr 0.1 → 0.003")
    page.select_option("#other", "")
    assert page.locator("#loss polyline.beside").count() == 0


def test_one_training_at_a_time_and_it_ends_with_its_page(open_page):  # noqa: F811
    first, second = (open_page("training", expect=["status of 409"]) for _ in range(2))
    first.bring_to_front()  # a page in the background may show its epochs when all of them are over
    first.fill("#epochs", "100")
    for _ in range(60):  # the run of an earlier test's page may not have been told yet that the page is closed
        first.click("#start")
        time.sleep(0.5)
        if first.locator("html").get_attribute("data-training") == "yes":
            break
    second.click("#start")  # at once: the run is over in a minute
    expect(second, "#message").to_contain_text("one training runs at a time")
    first.close()
    second.fill("#epochs", "1")
    for _ in range(60):  # the run is told by its next heartbeat that nobody listens
        second.click("#start")
        second.wait_for_selector("html[data-training=no]", timeout=TRAINED_MS)
        if "Learned" in second.locator("#state").inner_text():
            return
        time.sleep(0.5)
    pytest.fail("the run of the closed page still holds the place")


def test_a_transform_and_its_strength(open_page):  # noqa: F811
    page = open_page("augmentation")
    page.get_by_role("button", name="mirror").click()
    page.locator("#strength").fill("1")
    expect(page, "#one-command").to_have_text("catseye train DATA --set augment.hflip=1")
    expect(page, "#meaning").to_contain_text("mirrored with probability 1")
    draws = page.locator("#draws img")
    sources = {draws.nth(index).get_attribute("src") for index in range(8)}
    assert len(sources) == 1
    assert sources != {page.locator("#original").get_attribute("src")}
    page.locator("#strength").fill("0")
    expect(page, "#meaning").to_contain_text("Off")
    assert draws.first.get_attribute("src") == page.locator("#original").get_attribute("src")
    page.get_by_role("button", name="rotation").click()
    expect(page, "#meaning").to_contain_text("−15° to 15°")
    before = draws.first.get_attribute("src")
    page.click("#next")
    sync_api.expect(draws.first).not_to_have_attribute("src", before)
    page.fill("#step", "0")
    sync_api.expect(draws.first).to_have_attribute("src", before)  # the same seed and step: the same draw
    expect(page, "#batch-facts").to_contain_text("16 × 3 × 96 × 96")
    page.get_by_label("noise").check()
    expect(page, "#batch-command").to_contain_text("--set augment.noise_std=0.1")


@pytest.mark.parametrize("kind", ["MixUp", "CutMix"])
def test_mixed_labels_sum_to_one_on_the_page(open_page, kind):  # noqa: F811
    page = open_page("augmentation")
    page.locator("#kind").get_by_role("button", name=kind).click()
    expect(page, "#mix-says").to_contain_text(f"{kind}:")
    for index in range(page.locator("#mixed figure").count()):
        shares = page.locator("#mixed figure").nth(index).locator(".value").all_inner_texts()
        assert sum(float(share) for share in shares) == pytest.approx(1, abs=0.011)
    page.get_by_role("slider", name="α").fill("0")
    expect(page, "#mix-says").to_contain_text("α = 0 is off")
    expect(page, "#mixed .value").to_have_text(["1"] * page.locator("#mixed figure").count())


def test_the_years_go_by_keys(open_page):  # noqa: F811
    page = open_page("timeline")
    see(page, "#name", "ResNet-50")
    expect(page, "#counted").to_contain_text("25,557,032")
    assert page.locator("#block .arrow.skip").count() == 1
    page.locator("#years button[aria-pressed=true]").focus()
    page.keyboard.press("ArrowRight")
    see(page, "#name", "EfficientNet-B0")
    page.keyboard.press("Home")
    see(page, "#name", "LeNet-5")
    expect(page, "#counted").to_contain_text("61,706")
    assert page.locator("#block .arrow.skip").count() == 0
    page.get_by_role("button", name="VGG-16").click()
    expect(page, "#extra").to_contain_text("73,728 instead of 102,400 weights")
    expect(page, "#article").to_contain_text("74.5%")
    expect(page, "#measured-say").to_contain_text("Recorded by this project")
    assert "now" in page.locator("#row-vgg16").get_attribute("class")
    assert page.locator("#ways a").last.get_attribute("href") == "https://arxiv.org/abs/1409.1556"
    page.get_by_role("button", name="E-ConvNeXt-Tiny").click()
    expect(page, "#ways").to_contain_text("not in the measured table")


def test_a_network_that_was_never_on_imagenet_stands_beside_its_axis(open_page):  # noqa: F811
    page = open_page("timeline")
    assert page.locator("#years-title").inner_text() == "Eight networks, from 1998 to 2025"
    floor = float(page.locator("#years .axisline").get_attribute("y1"))
    heights = [float(one.get_attribute("cy")) for one in page.locator("#years .milestone").all()]
    assert heights[0] > floor
    assert max(heights[1:]) < floor
    assert page.locator("#years .stem").count() == 7
    page.get_by_role("button", name="LeNet-5").click()
    expect(page, "#block svg text").to_contain_text(["input", "linear, 10"])


def test_the_measured_table_where_there_is_one(browser):
    running = start_lab("--timeline", ROOT / "benchmarks" / "results" / "cifar10-timeline.json")
    try:
        page = browser.new_page()
        page.goto(f"{running.address}/timeline")
        page.wait_for_selector("html[data-ready]", timeout=WAIT_MS)
        assert page.locator("#measured tbody tr").count() == 7
        assert "150 s of training" in page.locator("#measured-say").inner_text()
        page.close()
    finally:
        end(running)
