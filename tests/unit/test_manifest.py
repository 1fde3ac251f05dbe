import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catseye.errors import ModelFileError
from catseye.manifest import MAX_MANIFEST_BYTES, Architecture, Manifest, Provenance
from catseye.preprocess import Preprocessing


def manifest(**more: object) -> Manifest:
    values = {
        "classes": ("cat", "dog"),
        "preprocessing": Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.2,) * 3),
        "architecture": Architecture(name="simple", options={"dropout": 0.25, "skip": True}),
        **more,
    }
    return Manifest(**values)


def test_a_manifest_survives_the_model_file():
    whole = manifest(
        temperature=1.7,
        unknown_threshold=0.4,
        provenance=Provenance(created="today", seed=3, metrics={"test_accuracy": 0.9}),
    )
    assert Manifest.from_json(whole.to_json(), "m") == whole
    assert Manifest.from_json(whole.to_json().encode(), "m") == whole


@given(st.lists(st.text(), min_size=1, max_size=5, unique=True))
def test_any_class_names_survive(classes):
    assert Manifest.from_json(manifest(classes=tuple(classes)).to_json(), "m").classes == tuple(classes)


@pytest.mark.parametrize("text", [None, "", b""])
def test_a_file_without_a_manifest_says_so(text):
    with pytest.raises(ModelFileError, match=r"cat\.onnx carries no catseye manifest"):
        Manifest.from_json(text, "cat.onnx")


def test_a_manifest_that_is_too_large_is_refused():
    with pytest.raises(ModelFileError, match="at most 8,000,000 bytes"):
        Manifest.from_json(" " * (MAX_MANIFEST_BYTES + 1), "m")


@pytest.mark.parametrize("text", ["{", "[]", "null", "5", '"text"', "{}", "\0", "[" * 100_000])
def test_text_that_is_no_manifest_names_the_file(text):
    with pytest.raises(ModelFileError, match=r"^m: its manifest is wrong at"):
        Manifest.from_json(text, "m")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", []),
        ("classes", ["cat", "cat"]),
        ("classes", "cat"),
        ("classes", [1, 2]),
        ("temperature", 0),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("unknown_threshold", 1.5),
        ("unknown_threshold", float("nan")),
        ("format_version", 2),
        ("architecture", {"name": "simple", "options": {"a": [1]}}),
        ("architecture", {"name": "simple", "extra": 1}),
        ("preprocessing", {"height_px": 32, "width_px": 32, "mean": [0.5], "std": [0.2]}),
        ("preprocessing", {"height_px": 32, "width_px": 32, "mean": [0.5] * 3, "std": [float("nan")] * 3}),
        ("preprocessing", {"height_px": 32, "width_px": 32, "mean": [float("nan")] * 3, "std": [1] * 3}),
        ("preprocessing", {"height_px": 10**9, "width_px": 32, "mean": [0.5] * 3, "std": [1] * 3}),
        ("surprise", 1),
    ],
)
def test_a_wrong_field_is_named(field, value):
    content = {**json.loads(manifest().to_json()), field: value}
    with pytest.raises(ModelFileError, match=rf"its manifest is wrong at {field}"):
        Manifest.from_json(json.dumps(content), "m")
