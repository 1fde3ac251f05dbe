"""Tensors as text: long ones stop nobody, and only numbers are numbers."""

import json
import threading
import time

import numpy as np
import pytest

from catseye.serving.tensor_text import LONG_BYTES, LongArray, numbers_of, read_tensor_json
from tests.server import models
from tests.server.running import refused
from tests.unit.onnx_files import manifest, tiny_model

LONG = list(range(256)) * 64  # some 58,000 characters


def data_of(text: str):
    return read_tensor_json(f'{{"data": {text}, "x": 1.5}}'.encode())["data"]


@pytest.mark.parametrize(
    "array",
    [LONG, [LONG, LONG], [[[one] for one in LONG]], [0.1234567890123, -1e-7, 3] * 3000],
    ids=["flat", "rows", "deep", "floats"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_long_array_is_what_json_reads(array, indent):
    found = data_of(json.dumps(array, indent=indent))
    assert isinstance(found, LongArray)
    np.testing.assert_array_equal(numbers_of(found), np.array(array, np.float64).ravel())


def test_the_rest_of_the_text_stays_as_it_is():
    text = json.dumps({"inputs": [{"data": LONG, "shape": [1, 2]}], "id": "a [1,2] b", "big": [LONG], "x": 2e3})
    found = read_tensor_json(text.encode())
    assert (found["inputs"][0]["shape"], found["id"], found["x"]) == ([1, 2], "a [1,2] b", 2000.0)
    assert numbers_of(found["big"]).size == len(LONG)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("7,", "7,,", 1),
        lambda text: text[:-1] + ",]",
        lambda text: text + "]",
        lambda text: "[" + text,
        lambda text: text.replace("9,", "9 9,", 1),
        lambda text: text + "," + text,
        lambda text: text.replace("1,", "[1]]],[[", 1),
        lambda text: text.replace("5,", "-,", 1),
        lambda text: text.replace("5,", "1e5e5,", 1),
        lambda text: "[" * LONG_BYTES * 2,
        lambda text: "[" * LONG_BYTES + "]" * LONG_BYTES,
    ],
)
def test_a_long_array_that_is_none_is_refused(spoil):
    with pytest.raises((ValueError, RecursionError)):
        data_of(spoil(json.dumps(LONG)))


@pytest.mark.parametrize("data", [["1", 2], [True, 2], [None], "12", [[1], ["2"]], {"a": 1}, None, True])
def test_only_numbers_are_numbers(data):
    with pytest.raises((ValueError, TypeError)):
        numbers_of(data)


@pytest.mark.parametrize(
    "text",
    ["[" * 3_000_000, "1," * 1_500_000, "[1" * 1_500_000, "[1x" * 800_000, ("1" * 16_000 + "x") * 200],
    ids=["[", "1,", "[1", "[1x", "short runs"],
)
def test_no_text_takes_long(text):
    """Each of these would be tried from every position by a careless pattern."""
    started = time.process_time()
    with pytest.raises(ValueError, match=r"\w"):
        data_of(text)
    assert time.process_time() - started < 3


@pytest.fixture(scope="module")
def wide(shared_start, tmp_path_factory):
    """A model of 4 x 4 floats, and room for a body of 20 MB."""
    from onnx import TensorProto, helper, numpy_helper

    model = tiny_model(manifest(input_kind="float"))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4]))
    axes = next(one for one in model.graph.initializer if one.name == "axes")
    axes.CopyFrom(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    return shared_start(models.write(tmp_path_factory.mktemp("wide") / "wide.onnx", model))


def infer(running, tensor: dict, **more):
    body = json.dumps({"inputs": [{"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", **tensor}], **more})
    return running.predict(body.encode(), "/v2/models/wide/infer", content_type="application/json")


def test_a_long_text_is_answered_as_a_short_one(wide):
    rows = np.random.default_rng(0).random((256, 3, 4, 4)).round(3)
    long = infer(wide, {"shape": [256, 3, 4, 4], "data": rows.tolist()}).json()["outputs"][0]
    assert long["shape"] == [256, 3]
    for index in (0, 100, 255):
        short = infer(wide, {"data": rows[index].ravel().tolist()}).json()["outputs"][0]["data"]
        np.testing.assert_allclose(long["data"][3 * index : 3 * index + 3], short, atol=1e-6)


def test_health_is_answered_beside_eighteen_megabytes_of_numbers(wide):
    """Parsed in the event loop it takes more than a second, in one piece."""
    body = b'{"inputs":[{"name":"image","shape":[1,3,4,4],"datatype":"FP32","data":[' + b"255," * 4_500_000 + b"255]}]}"
    statuses: list[int] = []

    def ask_long():
        statuses.append(wide.predict(body, "/v2/models/wide/infer", content_type="application/json").status)

    thread = threading.Thread(target=ask_long)
    thread.start()
    slowest = 0.0
    while thread.is_alive():
        started = time.perf_counter()
        assert wide.get("/healthz").status == 200
        slowest = max(slowest, time.perf_counter() - started)
    thread.join()
    assert statuses == [400]  # so many numbers fit no shape
    assert slowest < 0.4


@pytest.mark.parametrize(
    "tensor",
    [
        {"data": ["1"] * 48},
        {"data": [True] * 48},
        {"data": [None] * 48},
        {"data": [3e38] * 48},  # finite, and no longer where the model has added them up
        {"data": LONG},
        {"data": [10**400] * 48},
        {"name": LONG},
        {"shape": LONG},
        {"parameters": {"binary_data_size": True}},
    ],
    ids=lambda one: str(one)[:40],
)
def test_tensors_of_strangers_are_no_faults_of_ours(wide, tensor):
    refused(infer(wide, {"data": [1] * 48, **tensor}), 400)


@pytest.mark.parametrize(
    "more", [{"outputs": LONG}, {"outputs": [LONG]}, {"rest": "x" * 400_000}], ids=["outputs", "rows", "rest"]
)
def test_other_long_things_are_refused(wide, more):
    refused(infer(wide, {"data": [1] * 48}, **more), 400)


def test_a_lone_surrogate_comes_back(wide):
    answer = infer(wide, {"data": [1] * 48}, id="\ud800 é")
    assert answer.status == 200
    assert json.loads(answer.body)["id"] == "\ud800 é"


@pytest.mark.parametrize("length", ["9" * 5000, "0" * 5000 + "5", "-1", "1e3", "٣"])
def test_a_header_length_of_thousands_of_digits(wide, length):
    body = json.dumps({"inputs": []}).encode()
    given = {"inference_header_content_length": length.encode(), "content_type": "application/json"}
    refused(wide.predict(body, "/v2/models/wide/infer", **given), 400)


def infer_bytes(running, values: np.ndarray, size: int | None = None):
    """The tensor as bytes behind the JSON, as clients of the protocol's binary extension send it."""
    raw = values.astype(np.float32).tobytes()
    tensor = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": len(raw) if size is None else size}
    head = json.dumps({"inputs": [tensor]}).encode()
    given = {"inference_header_content_length": str(len(head)), "content_type": "application/octet-stream"}
    return running.predict(head + raw, "/v2/models/wide/infer", **given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_19_nan_and_infinity_as_bytes(wide, value):
    values = np.ones(48)
    assert infer_bytes(wide, values).status == 200
    values[17] = value
    assert "finite numbers" in refused(infer_bytes(wide, values), 400)["error"]


@pytest.mark.parametrize(("count", "size"), [(47, None), (49, None), (48, 188), (48, 0), (48, 10**12)])
def test_19_bytes_that_are_too_few_or_too_many(wide, count, size):
    assert "binary_data_size" in refused(infer_bytes(wide, np.ones(count), size), 400)["error"]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("where", ["data", "id"])
def test_19_nan_and_infinity_as_text(wide, word, where):
    """Python's reader takes these words for numbers, though JSON has none of them."""
    tensor = '{"name":"image","shape":[1,3,4,4],"datatype":"FP32","data":[%s]}'
    data = ",".join([word if where == "data" else "1"] + ["1"] * 47)
    text = '{"inputs":[' + tensor % data + "]%s}" % (f',"id":{word}' if where == "id" else "")
    refused(wide.predict(text.encode(), "/v2/models/wide/infer", content_type="application/json"), 400)
