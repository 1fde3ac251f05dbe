import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from catseye.classifier import Classifier, Prediction, softmax
from catseye.errors import ImageError, UnknownFormat
from catseye.manifest import Architecture, Manifest
from catseye.preprocess import Preprocessing, preprocess
from tests.conftest import encode, random_pixels

SPEC = Preprocessing(height_px=8, width_px=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def fake_logits(pixels: np.ndarray) -> np.ndarray:
    """A network that answers with the mean red, green and blue of an image."""
    assert pixels.dtype == np.uint8
    return pixels.mean(axis=(1, 2)).astype(np.float32) / 64


def classifier(logits=fake_logits, **more: object) -> Classifier:
    manifest = Manifest(
        classes=("red", "green", "blue"), preprocessing=SPEC, architecture=Architecture(name="fake"), **more
    )
    return Classifier(manifest, logits)


def colour(index: int, strength: int = 255) -> np.ndarray:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :, index] = strength
    return pixels


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)), st.floats(0.1, 10))
def test_softmax_is_scipys(logits, temperature):
    np.testing.assert_allclose(
        softmax(logits, temperature), special.softmax(logits.astype(np.float64) / temperature, axis=1), atol=1e-12
    )


def test_softmax_of_huge_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e30, 0.0], [-3e38, -3e38]], np.float32)), [[1, 0], [0.5, 0.5]])


def test_one_image():
    prediction = classifier().predict(colour(1))
    assert prediction.label == "green"
    wanted = special.softmax([0, 255 / 64, 0])
    np.testing.assert_allclose(prediction.probabilities, wanted, rtol=1e-6)
    assert prediction.confidence == pytest.approx(wanted[1])
    assert not prediction.unknown
    assert classifier().classes == ("red", "green", "blue")


def test_top_is_sorted_and_no_longer_than_the_classes():
    prediction = Prediction(("a", "b", "c"), np.array([0.2, 0.5, 0.3]))
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]
    assert [name for name, _ in prediction.top(9)] == ["b", "c", "a"]
    assert prediction.top(1) == [(prediction.label, prediction.confidence)]


def test_a_tie_goes_to_the_first_class_everywhere():
    prediction = Prediction(("a", "b"), np.array([0.5, 0.5]))
    assert prediction.label == prediction.top(1)[0][0] == "a"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_many_images_keep_their_order(batch_size):
    wanted = [0, 2, 1, 1, 0, 2, 2]
    answers = list(classifier().predict_many([colour(index) for index in wanted], batch_size=batch_size))
    assert [answer.label for answer in answers] == [classifier().classes[index] for index in wanted]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_a_bad_image_is_an_error_in_its_own_place(batch_size, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"broken")
    images = [colour(0), bad, encode(colour(2)), tmp_path / "missing.png", colour(1), b""]
    answers = list(classifier().predict_many(images, batch_size=batch_size))
    labels = [answer.label if isinstance(answer, Prediction) else type(answer) for answer in answers]
    assert labels == ["red", UnknownFormat, "blue", ImageError, "green", ImageError]
    assert "bad.png" in str(answers[1])
    assert "missing.png" in str(answers[3])


def test_only_bad_images_never_reach_the_network():
    def never(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError("the network was asked")

    assert [type(answer) for answer in classifier(never).predict_many([b"", b"x"])] == [ImageError, UnknownFormat]
    assert list(classifier(never).predict_many([])) == []


def test_the_network_gets_batches_of_the_evaluation_preprocessing():
    seen = []

    def logits(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return fake_logits(pixels)

    images = [random_pixels(seed, 13, 9) for seed in range(5)]
    list(classifier(logits).predict_many(iter(images), batch_size=2))
    assert [len(batch) for batch in seen] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(seen), np.stack([preprocess(image, SPEC) for image in images]))


def test_answers_come_as_soon_as_a_batch_is_full():
    def endless():
        while True:
            yield colour(0)

    answers = classifier().predict_many(endless(), batch_size=4)
    assert [next(answers).label for _ in range(6)] == ["red"] * 6


def test_one_bad_image_raises():
    with pytest.raises(ImageError, match="empty"):
        classifier().predict(b"")


def test_the_temperature_softens():
    wanted = special.softmax(np.array([255 / 64, 0, 0]) / 4)
    np.testing.assert_allclose(classifier(temperature=4.0).predict(colour(0)).probabilities, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "unknown"), [(None, False), (0.0, False), (0.9, False), (0.97, True), (1.0, True)]
)
def test_below_the_threshold_the_answer_is_unknown(threshold, unknown):
    # The most probable class has 0.964.
    prediction = classifier(unknown_threshold=threshold).predict(colour(0))
    assert bool(prediction.unknown) is unknown
    assert isinstance(prediction.unknown, bool), "JSON cannot write NumPy's bool"
