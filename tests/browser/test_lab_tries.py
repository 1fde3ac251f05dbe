# ruff: noqa: F811 - the fixtures of test_lab
"""Things to try: each is predicted, done by the page's controls and answered by what is measured; the lesson plan has
the same questions and answers. And what helps a reader: words that explain themselves, chapters to read, the menu."""

import re
from pathlib import Path

import pytest

from catseye.lab.chapters.table import CHAPTERS
from tests.browser.test_lab import (  # noqa: F401 - the fixtures
    lab,
    open_page,
    pytestmark,
    see,
    slide_to,
    sync_api,
)
from tests.browser.test_lab_training import learn

TRAINED_MS = 240_000
PLAN = (Path(__file__).parents[2] / "docs" / "teach.md").read_text()


def predict(page, number, option=0):
    item = page.locator("#tries > li").nth(number)
    item.get_by_role("radio").nth(option).check()
    assert item.locator(".verdict").inner_text() == ""  # nothing is told before it was done
    return item


def answered(page, number, *, timeout=60_000):
    """Question and measured answer of a try that was done, and the lesson plan has both in one line."""
    item = page.locator("#tries > li").nth(number)
    sync_api.expect(item.locator(".verdict b")).to_be_visible(timeout=timeout)
    verdict = item.locator(".verdict").inner_text()
    question = item.locator("legend").inner_text()
    answer = re.match(r"(?:Measured|As you said): (.+?)\. ", verdict)[1]
    assert (item.get_attribute("data-right") == "yes") == (verdict.startswith("As you said"))
    (line,) = [one for one in PLAN.splitlines() if question in one]
    assert f"**{answer}**" in line, (question, answer)
    return answer, verdict


def test_chapter_1(open_page):
    page = open_page("pixels")
    predict(page, 0)
    page.click("button[data-name=digit-4]")
    assert answered(page, 0)[0] == "1"
    predict(page, 1), predict(page, 2)
    slide_to(page, "Image, pixels a side", 128)
    sync_api.expect(page.locator("#cost")).to_contain_text("49,152 values")
    slide_to(page, "Image, pixels a side", 256)
    assert answered(page, 1)[0] == "four times as many"
    assert answered(page, 2)[0] == "it stays the same"


def test_chapter_2(open_page):
    page = open_page("convolution")
    predict(page, 0, 1), predict(page, 1), predict(page, 2)
    slide_to(page, "Stride", 2)
    assert answered(page, 0)[0] == "2 × 2"
    slide_to(page, "Stride", 1)
    slide_to(page, "Padding", 1)
    assert answered(page, 1)[0] == "5 × 5"
    page.click("button[data-name=street]")
    page.get_by_role("button", name="Gaussian").click()
    assert answered(page, 2)[0] == "they stay as bright"


def test_a_try_can_be_predicted_again(open_page):
    page = open_page("convolution")
    item = predict(page, 0, 2)
    slide_to(page, "Stride", 2)
    answered(page, 0)
    assert item.get_attribute("data-right") == "no"
    item.get_by_role("button", name="Predict again").click()
    assert item.locator(".verdict").inner_text() == ""
    assert item.get_by_role("radio", checked=True).count() == 0


def test_chapter_3(open_page):
    page = open_page("activations")
    for number in range(4):
        predict(page, number)
    page.locator("#normalise").uncheck()
    slide_to(page, "Added to them", -3)
    assert answered(page, 0)[0] == "fewer"
    page.locator("#normalise").check()
    assert answered(page, 1)[0] == "as many as before the shift"
    slide_to(page, "x", -2)
    assert answered(page, 2)[0] == "Swish"
    slide_to(page, "Window", 3)
    slide_to(page, "Stride", 1)
    assert answered(page, 3)[0] == "2 × 2"


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "GELU", "Swish"])
def test_the_text_under_the_histogram_is_of_the_chosen_activation(open_page, name):
    page = open_page("activations")
    page.get_by_role("button", name=name, exact=True).click()
    sync_api.expect(page.locator("#cut-says")).to_contain_text(f" {name}")
    others = {"ReLU", "GELU", "Swish"} - {name, "GELU" if name == "Swish" else ""}
    assert not any(re.search(rf"\b{other}\b", page.locator("#cut-says").inner_text()) for other in others)


def test_chapter_4(open_page):
    page = open_page("network")
    predict(page, 0), predict(page, 1)
    for layer in (0, 5):
        page.locator("#flow button").nth(layer).click()
        see(page, "#layer", f"features.{layer}")
        page.locator("#maps .map").first.click(position={"x": 9, "y": 9})
        sync_api.expect(page.locator("#place-facts")).to_contain_text("5 × 5 px" if layer == 0 else "16 × 16 px")
    assert answered(page, 0)[0] == "the later one’s"
    page.click("button[data-name=street]")
    sync_api.expect(page.locator("#tries > li").nth(1).locator(".verdict b")).to_be_visible()


@pytest.mark.slow
def test_chapter_4_alexnet(open_page):
    page = open_page("network")
    predict(page, 2)
    page.select_option("#network", "alexnet")
    assert answered(page, 2)[0] == "the dense layers"


def test_nothing_of_another_network_is_shown_while_one_is_built(open_page):
    page = open_page("network")
    page.wait_for_selector("#maps .map")
    held = []
    page.route("**/api/network/flow", lambda route: held.append(route))
    page.select_option("#network", "residual")
    sync_api.expect(page.locator("#busy")).to_contain_text("residual")
    for part in ("#maps .map", "#flow button", "#bars li", "#cam canvas", "#field img"):
        assert page.locator(part).count() == 0
    assert page.locator("#maps").get_attribute("aria-busy") == "true"
    page.wait_for_timeout(300)
    held[0].continue_()
    page.unroute("**/api/network/flow")
    sync_api.expect(page.locator("#totals")).to_contain_text("residual")
    page.wait_for_selector("#maps .map")
    sync_api.expect(page.locator("#busy")).to_be_hidden()


def test_a_patch_leads_to_the_map_of_its_image(open_page):
    page = open_page("network")
    page.locator("#flow button").first.click()
    see(page, "#layer", "features.0")
    page.locator("#patches .patch").first.wait_for()
    channel = page.locator(".map[aria-pressed=true]").get_attribute("data-channel")
    value = page.locator("#patches figure b").first.inner_text()
    page.locator("#patches .patch").first.click()
    sync_api.expect(page.locator(".images [aria-pressed=true]")).to_have_text("your image")
    sync_api.expect(page.locator("#place-facts")).to_contain_text(value)
    assert page.locator(".map[aria-pressed=true]").get_attribute("data-channel") == channel
    page.locator("#patches-say").get_by_role("button", name="features.0").click()
    assert page.evaluate("document.activeElement.dataset.layer") == "features.0"


def test_chapter_5(open_page):
    page = open_page("skips")
    predict(page, 0), predict(page, 1)
    page.get_by_role("button", name="with", exact=True).click()
    assert answered(page, 1, timeout=TRAINED_MS)[0].startswith("no")
    page.get_by_role("button", name="without", exact=True).click()
    page.locator("#depth").fill("10")
    assert answered(page, 0, timeout=TRAINED_MS)[0] == "a larger share"


def test_chapter_6(open_page):
    page = open_page("training")
    page.click("#to-end")
    for number in range(3):
        predict(page, number)
    for _ in range(2):
        learn(page, epochs=1)
    assert answered(page, 2)[0] == "equal in every digit"
    page.locator("#lr").fill("12")
    learn(page, epochs=1)
    assert answered(page, 0)[0].startswith("stay at guessing")
    page.locator("#lr").fill("6")
    page.get_by_role("button", name="shifts, turns, erasing").click()
    learn(page, epochs=5)
    assert answered(page, 1)[0] == "below"


KEEP_TEXTS = """(selector) => {
    window.texts = [];
    const shown = document.querySelector(selector);
    new MutationObserver(() => window.texts.push(shown.textContent)).observe(
        shown, { childList: true, characterData: true, subtree: true });
}"""


def test_the_recorded_run_plays_and_says_why_its_training_loss_lies_above(open_page):
    page = open_page("training")
    assert page.locator("html").get_attribute("data-playing") == "yes"
    see(page, "#recorded-says", re.compile("Epoch [2-9]"))
    page.click("#to-end")
    sync_api.expect(page.locator("#recorded-says")).to_contain_text("of 359 test digits right")
    assert "12 of 12" in page.locator("#runs").inner_text()
    sync_api.expect(page.locator("#above")).to_contain_text("label smoothing of 0.1 spreads the target")
    sync_api.expect(page.locator("#above")).to_contain_text("it is measured on augmented images (shifts)")
    sync_api.expect(page.locator("#loss")).to_contain_text("lowest possible in training")
    # The first epoch is shown for less than a second, between two looks of `expect`: the page itself keeps the texts.
    page.evaluate(KEEP_TEXTS, "#recorded-says")
    page.click("#replay")
    page.wait_for_function("() => window.texts.some(text => text.includes('Epoch 1 of 12'))")
    quiet = open_page("training", reduced_motion="reduce")
    assert "12 of 12" in quiet.locator("#runs").inner_text()


def test_chapter_7(open_page):
    page = open_page("augmentation")
    for number in range(3):
        predict(page, number)
    page.click("#next")
    sync_api.expect(page.locator("#step")).to_have_value("1")
    page.wait_for_timeout(1500)
    page.fill("#step", "0")
    assert answered(page, 0)[0] == "the same"
    page.locator("#kind button", has_text="CutMix").click()
    assert answered(page, 1)[0] == "1"
    page.get_by_role("slider", name="α").fill("0.1")
    assert answered(page, 2)[0] == "nearly one of the two images"


def test_chapter_8(open_page):
    page = open_page("timeline")
    for number in range(3):
        predict(page, number)
    for name in ("VGG-16", "GoogLeNet"):
        page.get_by_role("button", name=name).click()
        see(page, "#name", name)
        sync_api.expect(page.locator("#counted")).to_contain_text("138,357,544" if name == "VGG-16" else "6,624,904")
    assert answered(page, 0)[0] == "twenty times"
    page.get_by_role("button", name="AlexNet").click()
    assert answered(page, 1)[0] == "parameters dense, computing in convolutions"
    page.get_by_role("button", name="LeNet-5").click()
    assert answered(page, 2)[0] == "the oldest, LeNet-5"


def test_chapter_9(open_page):
    page = open_page("descent")
    for number in range(3):
        predict(page, number)
    page.locator("#lr").fill("2")
    see(page, "#lr-number", "0.01")
    assert answered(page, 0)[0] == "higher, it crawls"
    assert answered(page, 2)[0] == "SGD with momentum 0.9"
    page.locator("#lr").fill("10")
    assert answered(page, 1)[0] == "it is thrown off the map"


def test_the_start_is_dragged_and_moved_by_keys(open_page):
    page = open_page("descent")
    stage = page.locator(".slice-stage").first
    place = page.locator(".slice-stage .start").first
    before = place.get_attribute("cx"), place.get_attribute("cy")
    stage.focus()
    page.keyboard.press("ArrowLeft")
    sync_api.expect(place).not_to_have_attribute("cx", before[0])
    page.keyboard.press("ArrowDown")
    sync_api.expect(place).not_to_have_attribute("cy", before[1])
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    page.mouse.up()
    sync_api.expect(place).to_have_attribute("cx", re.compile(r"^2(09|10)"))
    starts = {one.get_attribute("cx") for one in page.locator(".slice-stage .start").all()}
    assert len(starts) == 1  # all three begin at one place
    slide_to(page, "Step", 3)
    sync_api.expect(page.locator(".slices figcaption").first).to_contain_text("step 3: loss")


def test_chapter_10(open_page):
    page = open_page("shift")
    predict(page, 0), predict(page, 1)
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert answered(page, 0)[0] == "only the convolutional one"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert answered(page, 1)[0] == "worse"
    sync_api.expect(page.locator("#yours")).to_contain_text("Moved by 3 of its 32 px")
    slide_to(page, "Moved to the right", 0)
    sync_api.expect(page.locator("#yours")).to_contain_text("Moved by 0 of its 32 px, the answer stays")


def test_a_word_tells_what_it_means_by_pointer_and_by_key(open_page):
    page = open_page("activations", viewport={"width": 360, "height": 740})
    word = page.locator("button.term", has_text="γ").first
    word.focus()  # which scrolls to it
    sync_api.expect(page.locator("#tip")).to_contain_text("scale of batch normalisation")
    sync_api.expect(page.locator("#tip")).to_be_visible()
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#tip")).to_be_hidden()
    page.locator("button.term", has_text="β").first.hover()
    sync_api.expect(page.locator("#tip")).to_contain_text("shift of batch normalisation")
    named = word.get_attribute("aria-describedby")
    assert "scale of batch normalisation" in page.locator(f"#{named}").text_content()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda one: one.name)
def test_a_chapter_leads_to_its_reading_and_back(open_page, chapter):
    page = open_page(chapter.name)
    page.locator(".reading-link a").click()
    page.wait_for_url(f"**/read/{chapter.reading}")
    assert page.locator("article h1").count() == 1
    page.locator(".reading-back").first.get_by_role("link", name=f"chapter {chapter.number},").click()
    page.wait_for_url(f"**/{chapter.name}")


def test_the_menu_names_the_chapters_on_a_phone(open_page):
    page = open_page("skips", viewport={"width": 360, "height": 740})
    menu = page.locator("#menu")
    assert menu.inner_text().startswith("5 Why skips")
    menu.click()
    names = page.locator("#menu-list a").all_inner_texts()
    assert [name.split(maxsplit=1)[1] for name in names] == [chapter.short for chapter in CHAPTERS]
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#menu-list")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "menu"
    wide = open_page("skips", viewport={"width": 1600, "height": 740})
    assert all(link.is_visible() for link in wide.locator("#menu-list a").all())
