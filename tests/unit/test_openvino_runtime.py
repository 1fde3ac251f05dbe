"""An OpenVINO IR from a stranger, and an honest one."""

import numpy as np
import pytest
from scipy import special

from catseye.errors import ModelFileError
from catseye.exporting.openvino_ir import convert, write_ir
from catseye.runtimes.inspection import info
from catseye.runtimes.loading import load, open_model
from catseye.runtimes.openvino import start
from catseye.runtimes.openvino_structure import judge_model
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
    found = info(path)
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
    "another .bin": (swapped, "belongs to another"),
    "a cut .bin": (cut, "belongs to another"),
    "NaN": (with_nan, "NaN"),
    "document type": (in_xml(b"<net", b'<!DOCTYPE x [<!ENTITY a "b">]><net'), "without a document type"),
    "another encoding": (lambda ir: (ir[0].decode().encode("utf-16"), ir[1]), "not a plain"),
    "claimed encoding": (in_xml(b'version="1.0"', b'version="1.0" encoding="utf-7"'), "not a plain"),
    "behind the end": (in_xml(b'offset="0"', b'offset="99999999"'), "beyond the end"),
    "negative": (in_xml(b'offset="0"', b'offset="-4"'), "beyond the end"),
    "no number": (in_xml(b'offset="0"', b'offset="x"'), "damaged"),
    "an extension": (in_xml(b'type="MatMul" version="opset1"', b'type="MatMul" version="extension"'), "not opened"),
    "no manifest": (in_xml(b"<catseye ", b"<catsnose "), "no catseye manifest"),
    "no XML": (lambda ir: (b"\x80\x04cbuiltins\nexec\n", ir[1]), "not a plain"),
    "cut XML": (lambda ir: (ir[0][: len(ir[0]) // 2], ir[1]), "not an OpenVINO IR"),
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


# --- the model that OpenVINO has read, judged ------------------------------------------------------------------------


def with_hidden_layers(content):
    """OpenVINO reads layers of any namespace; a search for elements called `layer` finds none of these."""
    xml, weights = content
    assert b"<layers>" in xml
    return xml.replace(b"<layers>", b'<layers xmlns="urn:x">', 1), weights


def made_by_hand(folder, change_logits):
    """The tiny classifier built in OpenVINO; `change_logits(opset, logits)` returns the logits and the sinks."""
    ov = pytest.importorskip("openvino")
    opset = ov.opset13
    image = opset.parameter([-1, 4, 4, 3], ov.Type.u8, name="image")
    image.output(0).set_names({"image"})
    mean = opset.reduce_mean(opset.convert(image, "f32"), opset.constant(np.array([1, 2], np.int64)), False)
    logits, sinks = change_logits(ov, opset.multiply(mean, opset.constant(np.full(3, 1 / 64, np.float32))))
    logits.output(0).set_names({"prediction"})
    shares = opset.softmax(logits, 1)
    shares.output(0).set_names({"probability"})
    results = [opset.result(logits), opset.result(shares)]
    write_ir(ov.Model(results=results, sinks=sinks, parameters=[image], name="by-hand"), folder / "m.xml", manifest())
    return (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes()


def honest(ov, logits):
    return logits, []


def remembering(ov, logits):
    """The sum of all answers so far is added: no two calls are answered alike."""
    opset = ov.opset6
    before = opset.read_value(opset.constant(np.zeros((1, 3), np.float32)), "v", ov.Type.f32, [1, 3])
    total = opset.add(before, opset.reduce_mean(logits, opset.constant(np.array([0], np.int64)), True))
    return opset.add(logits, total), [opset.assign(total, "v")]


def by_chance(ov, logits):
    opset = ov.opset8
    zero, one = (opset.constant(np.float32(value)) for value in (0, 1))
    return opset.add(logits, opset.random_uniform(opset.constant(np.array([1, 3])), zero, one, "f32")), []


def with_nan_inside(ov, logits):
    return ov.opset13.add(logits, ov.opset13.constant(np.array([0, np.nan, 0], np.float32))), []


def test_a_model_made_by_hand_is_opened(tmp_path, write):
    path = write(*made_by_hand(tmp_path, honest))
    assert open_model(path, trust=True).operators["Multiply"] == 1


HIDDEN = {
    "state": (remembering, "keeps a state between calls"),
    "chance": (by_chance, "layer opset8::RandomUniform"),
    "NaN": (with_nan_inside, "NaN"),
}


@pytest.mark.parametrize(("change", "message"), HIDDEN.values(), ids=HIDDEN)
def test_what_openvino_reads_is_judged_and_not_the_text(change, message, tmp_path, write):
    xml, weights = made_by_hand(tmp_path, change)
    with pytest.raises(ModelFileError, match=message):
        open_model(write(xml, weights), trust=True)
    # No rule about the text is in the way here: OpenVINO itself says what it has read.
    with pytest.raises(ModelFileError, match=message):
        start(*with_hidden_layers((xml, weights)), "m.xml")
    with pytest.raises(ModelFileError, match=f"namespaces|{message}"):
        open_model(write(*with_hidden_layers((xml, weights))), trust=True)


def test_a_model_inside_a_model_is_refused():
    """What a body holds would have to be judged too; a classifier needs none."""
    ov = pytest.importorskip("openvino")
    opset = ov.opset8
    outer, inner = (opset.parameter([1, 3], ov.Type.f32) for _ in range(2))
    body = ov.Model([opset.result(opset.relu(inner))], [inner])
    branch = opset.if_op(opset.constant(np.array(True)))
    branch.set_then_body(body)
    branch.set_else_body(body)
    branch.set_input(outer.output(0), inner, inner)
    model = ov.Model([opset.result(branch.set_output(body.results[0], body.results[0]))], [outer])
    with pytest.raises(ModelFileError, match="layer opset8::If"):
        judge_model(model, "m.xml")


def test_layers_in_a_namespace_are_refused(ir, write):
    with pytest.raises(ModelFileError, match="has XML namespaces"):
        open_model(write(*with_hidden_layers(ir)), trust=True)


def test_a_manifest_is_said_once(ir, write):
    xml, weights = ir
    twice = xml.replace(b"<rt_info>", b'<rt_info><catseye value="{}"/>', 1)
    assert twice != xml
    with pytest.raises(ModelFileError, match="twice in its rt_info"):
        open_model(write(twice, weights), trust=True)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    ["lenet5", *(pytest.param(name, marks=slow) for name in ("residual", "mobilenet_v3_small", "econvnext_tiny"))],
)
def test_the_networks_need_no_other_operator(name):
    """All operators that our own files have are among those that are opened."""
    import torch

    from catseye.exporting.onnx_file import build_onnx, render_onnx
    from catseye.manifest import Architecture
    from catseye.models import registry
    from catseye.preprocess import Preprocessing

    torch.manual_seed(0)
    model = registry.create(name, num_classes=3, in_channels=3, input_px=32).eval()
    spec = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    said = manifest(preprocessing=spec, architecture=Architecture(name=name))
    operators, num_parameters = judge_model(convert(render_onnx(build_onnx(model, said), said)), name)
    assert operators["Convolution"] > 1
    assert num_parameters >= sum(parameter.numel() for parameter in model.parameters()) // 2
