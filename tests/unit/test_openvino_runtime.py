"""An OpenVINO IR from a stranger, and an honest one."""

import numpy as np
import pytest
from scipy import special

from catseye.errors import ModelFileError
from catseye.exporting.openvino_ir import convert, write_ir
from catseye.runtimes.inspection import inspect_model
from catseye.runtimes.loading import load, open_model
from tests.unit.onnx_files import manifest, tiny_model


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    path = tmp_path_factory.mktemp("ir") / "m.xml"
    write_ir(convert(tiny_model().SerializeToString()), path, manifest())
    return path.read_bytes(), path.with_suffix(".bin").read_bytes()


@pytest.fixture
def write(tmp_path):
    def put(xml, weights):
        path = tmp_path / "m.xml"
        path.write_bytes(xml)
        path.with_suffix(".bin").write_bytes(weights)
        return path

    return put


def test_an_honest_ir_answers(ir, write):
    path = write(*ir)
    pixels = np.full((4, 4, 3), (64, 128, 0), np.uint8)
    np.testing.assert_allclose(load(path).predict(pixels).probabilities, special.softmax([1, 2, 0]), atol=1e-5)
    found = inspect_model(path)
    assert found.format == "OpenVINO IR"
    assert found.operators["MatMul"] == 1
    assert found.manifest == manifest()
    assert b".onnx" not in ir[0], "nothing of the machine that wrote it"


def test_several_calls_at_a_time_answer_alike(ir, write):
    from concurrent.futures import ThreadPoolExecutor

    model = open_model(write(*ir), threads=1, calls=2)
    batches = [np.random.default_rng(seed).integers(0, 256, (3, 4, 4, 3), np.uint8) for seed in range(40)]
    alone = [model.run(batch)["prediction"] for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda batch: model.run(batch)["prediction"], batches))
    np.testing.assert_array_equal(alone, together)


def swapped(ir):
    return ir[0], bytes(len(ir[1]))


def cut(ir):
    return ir[0], ir[1][:-1]


def with_nan(ir):
    from hashlib import sha256

    weights = np.full(len(ir[1]) // 4, np.nan, np.float32).tobytes()[: len(ir[1])].ljust(len(ir[1]), b"\0")
    return ir[0].replace(sha256(ir[1]).hexdigest().encode(), sha256(weights).hexdigest().encode()), weights


def in_xml(old, new):
    def change(ir):
        assert old in ir[0]
        return ir[0].replace(old, new, 1), ir[1]

    return change


HOSTILE = {
    "another .bin": (swapped, "not the one"),
    "a cut .bin": (cut, "not the one"),
    "NaN": (with_nan, "NaN"),
    "document type": (in_xml(b"<net", b'<!DOCTYPE x [<!ENTITY a "b">]><net'), "without a document type"),
    "another encoding": (lambda ir: (ir[0].decode().encode("utf-16"), ir[1]), "no "),
    "claimed encoding": (in_xml(b'version="1.0"', b'version="1.0" encoding="utf-7"'), "no plain"),
    "behind the end": (in_xml(b'offset="0"', b'offset="99999999"'), "behind the end"),
    "negative": (in_xml(b'offset="0"', b'offset="-4"'), "behind the end"),
    "no number": (in_xml(b'offset="0"', b'offset="x"'), "damaged"),
    "an extension": (in_xml(b'type="MatMul" version="opset1"', b'type="MatMul" version="extension"'), "not opened"),
    "no manifest": (in_xml(b"<catseye ", b"<catsnose "), "no catseye manifest"),
    "no XML": (lambda ir: (b"\x80\x04cbuiltins\nexec\n", ir[1]), "no "),
    "cut XML": (lambda ir: (ir[0][: len(ir[0]) // 2], ir[1]), "no OpenVINO IR"),
    "no net": (lambda ir: (b'<?xml version="1.0"?><a/>', ir[1]), "no <net>"),
    "other classes": (in_xml(b"&quot;blue&quot;", b"&quot;blue&quot;,&quot;white&quot;"), "outputs should be"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_ir_is_refused(ir, write, change, message):
    with pytest.raises(ModelFileError, match=message):
        open_model(write(*change(ir)))


def test_without_its_bin(ir, write):
    path = write(*ir)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelFileError, match=r"m\.bin cannot be read"):
        open_model(path)
