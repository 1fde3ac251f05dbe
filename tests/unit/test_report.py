"""The page of a measurement: its size, its texts, and what it shows of which image."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from catseye.classifier import softmax
from catseye.data.sources import ArrayReader, ImageSet
from catseye.evaluation.gallery import choose_images
from catseye.evaluation.label_errors import find_label_errors
from catseye.evaluation.measure import MeasuredModel
from catseye.evaluation.metrics import compute_metrics
from catseye.evaluation.predict import Outputs
from catseye.evaluation.report import render_report
from catseye.manifest import Architecture, Manifest
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.runtimes.model_file import OpenedModel, never_started

EVIL = "<img src=x onerror=alert(1)>"


def measured(tmp_path, count, num_classes=3, *, wrong=0.3, names=None, network=True):
    """Random images and answers; `wrong` is the share of answers that do not fit."""
    rng = np.random.default_rng(0)
    classes = (EVIL, *(f"class {index}" for index in range(1, num_classes)))
    labels = rng.integers(0, num_classes, count)
    answers = np.where(rng.random(count) < wrong, rng.integers(0, num_classes, count), labels)
    logits = rng.normal(0, 1, (count, num_classes)).astype(np.float32)
    logits[np.arange(count), answers] += 4
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    spec = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.manual_seed(0)
    model = registry.create("simple", num_classes=num_classes).eval() if network else None
    manifest = Manifest(classes=classes, preprocessing=spec, architecture=Architecture(name="simple"), temperature=1.3)
    names = names or [f"{EVIL}/{index:05d}.png" for index in range(count)]
    images = ImageSet("data", classes, names, labels, np.zeros(count, np.int8), ArrayReader(pixels))
    opened = OpenedModel(
        path=tmp_path / "model.safetensors",
        format="safetensors",
        runtime="torch",
        manifest=manifest,
        num_bytes=0,
        sha256="",
        ask=never_started,
        inputs=[],
        outputs=[],
        operators={},
        network=model,
    )
    return MeasuredModel(opened, images, Outputs(logits, labels, np.arange(count)), {}, "data", False, ["a note"], None)


def render(found):
    return render_report(found, compute_metrics(found.outputs.logits, found.outputs.labels, found.images.classes))


def payload(page):
    return json.loads(re.search(r'id="payload">(.*?)</script>', page, re.DOTALL)[1])


class Tags(HTMLParser):
    """Collects tags, attributes and addresses."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.handlers = set(), set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses |= {value for name, value in attributes if name in ("src", "href", "action", "data")}
        self.handlers |= {name for name, _ in attributes if name.startswith("on")}


def test_a_class_name_with_markup_is_text(tmp_path):
    page = render(measured(tmp_path, 60))
    found = Tags(page)
    assert "img" not in found.tags
    assert not found.handlers
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert EVIL not in page
    assert payload(page)["classes"][0] == EVIL
    assert "http" not in re.sub(r"https?-equiv|http-equiv", "", page)


def test_ten_thousand_images_fit_into_five_megabytes(tmp_path):
    page = render(measured(tmp_path, 10_000, 10, wrong=1.0))
    assert len(page.encode()) < 5_000_000
    data = payload(page)
    shown = [item for item in data["items"] if "i" in item]
    assert len(shown) > 800
    assert all("h" in item for item in shown)
    assert len(data["cells"]) == 100
    assert all(any("i" in data["items"][number] for number in numbers) for numbers in data["cells"].values())


def test_long_names_and_many_classes_fit_too(tmp_path):
    names = ["x" * 2000 + str(index) for index in range(3000)]
    page = render(measured(tmp_path, 3000, 150, wrong=0.9, names=names, network=False))
    assert len(page.encode()) < 5_000_000
    assert "Most confused" in page
    assert 'class="matrix"' not in page


def test_the_lists_are_in_order_and_the_images_are_the_right_ones(tmp_path):
    found = measured(tmp_path, 200)
    p = softmax(found.outputs.logits, 1.3)
    gallery = choose_images(found, p, find_label_errors(p, found.outputs.labels))
    confidence, right = p.max(1), p.argmax(1) == found.outputs.labels
    worst = [gallery.items[number] for number in gallery.worst]
    assert all(item["t"] != item["p"] for item in worst)
    best = np.sort(confidence[~right])[::-1][: len(worst)]
    np.testing.assert_allclose([item["q"][0][1] for item in worst], best, atol=1e-4)
    doubtful = [gallery.items[number] for number in gallery.doubtful]
    assert all(item["t"] == item["p"] for item in doubtful)
    np.testing.assert_allclose(
        [item["q"][0][1] for item in doubtful], np.sort(confidence[right])[: len(doubtful)], atol=1e-4
    )
    cells = [numbers for key, numbers in gallery.cells.items() if len(set(key.split(","))) == 2]
    assert {gallery.items[number]["n"] for numbers in cells for number in numbers} == {
        found.names[row] for row in np.flatnonzero(~right)
    }
    item = worst[0]
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(item["i"]))), dtype=int)
    original = found.images.read(found.names.index(item["n"])).astype(int)
    others = [np.abs(stored - found.images.read(row).astype(int)).mean() for row in range(20)]
    assert np.abs(stored - original).mean() < min(others) or found.names.index(item["n"]) < 20
    height, width = gallery.heat_size
    assert len(base64.b64decode(item["h"])) == height * width


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_perfect_and_a_useless_model_have_a_page(tmp_path, wrong):
    found = measured(tmp_path, 40, 4, wrong=wrong)
    if wrong == 0.0:
        found.outputs.logits[:] = 9 * np.eye(4, dtype=np.float32)[found.outputs.labels]
    page = render(found)
    assert ("There are no confusions" in page) == (wrong == 0.0)


def test_one_image_of_one_class_has_a_page(tmp_path):
    page = render(measured(tmp_path, 1))
    assert "so nothing is known about them" in page
