import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from catseye.classifier import Classifier, softmax
from catseye.errors import CatseyeError
from catseye.exporting.held_out import HeldOut
from catseye.exporting.parity import (
    BATCH_SIZES,
    NUM_WORST,
    compare_answers,
    paired_drop,
    require,
)
from catseye.exporting.parity_result import ParityLimits, ParityResult, Score
from catseye.manifest import Architecture, Manifest
from catseye.preprocess import Preprocessing, preprocess
from tests.conftest import encode, random_pixels

SPEC = Preprocessing(height_px=8, width_px=8, mean=(0.5,) * 3, std=(0.5,) * 3)
NUM = 20


def logits_of(pixels):
    """The mean red, green and blue, far enough apart to matter."""
    return (pixels.mean(axis=(1, 2)) / 16).astype(np.float32)


def reference(temperature=1.0):
    manifest = Manifest(
        classes=("r", "g", "b"),
        preprocessing=SPEC,
        architecture=Architecture(name="fake"),
        temperature=temperature,
    )
    return Classifier(manifest, logits_of)


def asker(logits=logits_of, temperature=1.0, seen=None):
    def ask(pixels):
        if seen is not None:
            seen.append(len(pixels))
        values = logits(pixels)
        return values, softmax(values, temperature).astype(np.float32)

    return ask


@pytest.fixture(scope="module")
def images():
    contents = [encode(random_pixels(seed, 13, 9)) for seed in range(NUM)]
    return HeldOut("test", [f"{n:02d}.png" for n in range(NUM)], contents, np.arange(NUM) % 3)


def test_equal_models_pass_at_every_batch_size(images):
    seen = []
    found = compare_answers(reference(2.0), asker(temperature=2.0, seen=seen), SPEC, 2.0, images)
    assert [row.batch_size for row in found.rows] == list(BATCH_SIZES) == [1, 7, 64]
    assert seen == [1] * NUM + [7, 7, 6] + [NUM]
    assert found.agreement == 1
    assert found.max_difference < 1e-6
    assert found.run == found.file
    require(found, ParityLimits(), "m.onnx")


def test_the_scores_are_scikit_learns(images):
    found = compare_answers(reference(), asker(), SPEC, 1.0, images)
    answers = found.expected.argmax(1)
    assert found.file.accuracy == (answers == images.labels).mean()
    assert found.file.macro_f1 == pytest.approx(f1_score(images.labels, answers, average="macro"))
    assert found.file.low < found.file.accuracy < found.file.high


BROKEN = {
    "swapped channels": {"logits": lambda pixels: logits_of(pixels[..., ::-1])},
    "another scale": {"logits": lambda pixels: logits_of(pixels) / 2},
    "another temperature": {"temperature": 1.5},
    "not a number": {"logits": lambda pixels: logits_of(pixels) * np.nan},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_fails_and_its_worst_images_are_named(images, broken):
    found = compare_answers(reference(), asker(**broken), SPEC, 1.0, images)
    with pytest.raises(CatseyeError, match=r"m\.onnx was not written") as error:
        require(found, ParityLimits(), "m.onnx")
    assert str(error.value).count(".png: |Δp|") == NUM_WORST
    assert error.value.exit_code == 1


def test_one_probability_that_is_no_number_agrees_with_nothing(images):
    """The best class is right everywhere, so only the difference can tell; and NaN is smaller than no limit."""

    def ask(pixels):
        logits, probabilities = asker()(pixels)
        probabilities[0, probabilities[0].argmin()] = np.nan
        return logits, probabilities

    found = compare_answers(reference(), ask, SPEC, 1.0, images)
    assert found.agreement == 1.0
    assert found.max_difference == 1.0
    with pytest.raises(CatseyeError, match="was not written"):
        require(found, ParityLimits(), "m.onnx")


def test_another_filter_in_the_files_own_manifest_fails(images):
    spec = SPEC.model_copy(update={"filter": "bicubic"})
    assert compare_answers(reference(), asker(), spec, 1.0, images).max_difference > 1e-3


def test_one_wrong_image_among_many_is_found_and_comes_first(images):
    def logits(pixels):
        values = logits_of(pixels)
        if len(pixels) == 7:  # only in full batches of seven
            values[3] += 5
            values[3, 0] += 1
        return values

    found = compare_answers(reference(), asker(logits), SPEC, 1.0, images)
    assert [row.max_difference > 1e-4 for row in found.rows] == [False, True, False]
    assert {name for name, *_ in found.worst[:2]} == {"03.png", "10.png"}


def test_a_flipped_answer_within_the_difference_is_still_a_disagreement(images):
    limits = ParityLimits(agreement=1.0, max_difference=1.0)
    found = compare_answers(reference(), asker(lambda pixels: logits_of(pixels[..., ::-1])), SPEC, 1.0, images)
    with pytest.raises(CatseyeError, match="100% equal answers"):
        require(found, limits, "m.onnx")


def test_the_report_fits_into_json_and_the_manifest(images):
    found = compare_answers(reference(), asker(), SPEC, 1.0, images)
    json.dumps(found.to_json(), allow_nan=False)
    parity = found.to_manifest("onnxruntime 1")
    assert (parity.num_images, parity.batch_sizes, parity.agreement) == (NUM, BATCH_SIZES, 1.0)
    assert "20 test images" in found.to_line()


def wrong_on(count):
    """Logits that make the first `count` images of a pass wrong and blur all others, as INT8 does."""

    def logits(pixels):
        values = logits_of(pixels) * 0.9
        if len(pixels) == NUM:
            values[:count] = -values[:count]
        return values

    return logits


def test_a_budget_counts_accuracy_alone(images):
    labels = logits_of(np.stack([preprocess(one, SPEC) for one in images.contents])).argmax(1)
    truth = HeldOut("test", images.names, images.contents, labels)
    for count, good in ((0, True), (3, True), (9, False)):  # of 20: three may be chance, nine are not
        found = compare_answers(reference(), asker(wrong_on(count)), SPEC, 1.0, truth)
        assert found.max_difference > 1e-3
        assert found.drop[0] == pytest.approx(count / NUM)
        assert found.drop[1] <= found.drop[0] <= found.drop[2]
        limits = ParityLimits(max_drop=0.1)
        if good:
            require(found, limits, "m.onnx")
        else:
            with pytest.raises(CatseyeError, match=r"got 45\.00 points .*; --max-drop 18\.\d would accept it"):
                require(found, limits, "m.onnx")
            require(found, ParityLimits(max_drop=0.19), "m.onnx")


@pytest.mark.parametrize("num", [51, 83, 333, 1000])
def test_one_borderline_image_refuses_no_file(num):
    after = np.arange(num) > 0
    found = ParityResult(
        "test", num, (), *[Score(1, 1, 1, 1)] * 2, (), np.zeros(0), paired_drop(np.ones(num, bool), after)
    )
    require(found, ParityLimits(max_drop=0.003), "m.onnx")


def test_training_images_show_what_few_held_out_ones_cannot(images):
    """Three changed answers of 20 may be chance; the same share of 120 further images is none."""
    labels = logits_of(np.stack([preprocess(one, SPEC) for one in images.contents])).argmax(1)
    truth = HeldOut("test", images.names, images.contents, labels)
    more = HeldOut("train", [*images.names] * 6, [*images.contents] * 6, np.zeros(6 * NUM, np.int64))

    def every_seventh_wrong(pixels):
        values = logits_of(pixels)
        values[::7] = -values[::7]
        return values

    limits = ParityLimits(max_drop=0.003)
    require(compare_answers(reference(), asker(every_seventh_wrong), SPEC, 1.0, truth), limits, "m.onnx")
    with pytest.raises(CatseyeError, match="with 120 training images"):
        require(compare_answers(reference(), asker(every_seventh_wrong), SPEC, 1.0, truth, more=more), limits, "m.onnx")
    good = compare_answers(reference(), asker(), SPEC, 1.0, truth, more=more)
    assert good.num_more == 120
    require(good, limits, "m.onnx")


def test_a_file_may_be_better_than_the_run(images):
    found = compare_answers(reference(), asker(), SPEC, 1.0, images)
    assert found.drop[0] == 0
    require(found, ParityLimits(max_drop=0.0), "m.onnx")


def test_the_interval_of_a_drop_covers_what_it_should():
    """Drawn many times from known rates, about 95 % of the intervals hold the true drop."""
    rng = np.random.default_rng(0)
    num, hits = 400, 0
    for _ in range(1000):
        kind = rng.random(num)
        before, after = kind < 0.85, (kind < 0.82) | ((kind >= 0.85) & (kind < 0.86))  # 3 % lost, 1 % won
        _, low, high = paired_drop(before, after)
        hits += low <= 0.02 <= high
    assert 930 <= hits <= 980


def test_answers_that_are_known_are_not_asked_again(images):
    def never(pixels):
        raise AssertionError("the run was asked")

    known = compare_answers(reference(), asker(), SPEC, 1.0, images)
    silent = Classifier(reference().manifest, never)
    assert compare_answers(silent, asker(), SPEC, 1.0, images, expected=known.expected).rows == known.rows


def redness(pixels):
    """A familiarity: the share of red."""
    return (pixels[..., 0].mean((1, 2)) / 255).astype(np.float32)


def knowing():
    """The same run, which also knows strangers."""
    manifest = reference().manifest.model_copy(update={"familiarity_threshold": 0.4})
    return Classifier(manifest, logits_of, lambda pixels: (logits_of(pixels), redness(pixels)))


def familiar(familiarity):
    return lambda pixels: (*asker()(pixels), familiarity(pixels))


def one_in_full_batches(pixels):
    values = redness(pixels)
    if len(pixels) == 7:
        values[2] += 0.01
    return values


def test_a_file_that_knows_strangers_alike_is_proved(images):
    found = compare_answers(knowing(), familiar(lambda pixels: redness(pixels) + np.float32(2e-4)), SPEC, 1.0, images)
    assert found.familiarity.max_difference == pytest.approx(2e-4, rel=1e-3)
    require(found, ParityLimits(), "m.onnx")
    assert found.to_manifest("onnxruntime 1").familiarity_difference == found.familiarity.max_difference
    assert "familiarity off by at most 2.0e-04" in found.to_line()
    json.dumps(found.to_json(), allow_nan=False)


WRONG = {
    "too large": (lambda pixels: redness(pixels) + 0.002, r"got 0\.002 for"),
    "one image of a full batch": (one_in_full_batches, r"got 0\.01 for (02|09|16)\.png"),
    "the batch reversed": (lambda pixels: redness(pixels)[::-1], r"differ by 0\.001"),
    "not a number": (lambda pixels: redness(pixels) * np.nan, r"the file no number"),
}


@pytest.mark.parametrize(("familiarity", "message"), WRONG.values(), ids=WRONG)
def test_a_file_that_knows_strangers_otherwise_is_refused(images, familiarity, message):
    found = compare_answers(knowing(), familiar(familiarity), SPEC, 1.0, images)
    json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(CatseyeError, match=message) as error:
        require(found, ParityLimits(), "m.onnx")
    assert "m.onnx was not written" in str(error.value)
    require(found, ParityLimits(max_drop=1.0), "m.int8.onnx")  # in fewer bits it is told, not judged


def test_a_file_without_the_runs_familiarity_is_refused(images):
    with pytest.raises(CatseyeError, match="the file no number"):
        require(compare_answers(knowing(), asker(), SPEC, 1.0, images), ParityLimits(), "m.onnx")
    assert compare_answers(reference(), familiar(redness), SPEC, 1.0, images).familiarity is None


def test_a_hot_temperature_hides_nothing(images):
    """Probabilities at temperature 1000 are all alike; logits that are not must still be seen."""

    def broken(pixels):
        values = logits_of(pixels) + np.array([0.01, 0, 0], np.float32)
        return values, softmax(values, 1000.0).astype(np.float32)

    found = compare_answers(reference(1000.0), broken, SPEC, 1000.0, images)
    assert found.max_difference > 1e-4
    assert compare_answers(reference(1000.0), asker(temperature=1000.0), SPEC, 1000.0, images).max_difference < 1e-6
