import io
import os
import pickle
import threading
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import catseye
from catseye.classifier import softmax
from catseye.errors import ModelFileError, UsageError
from catseye.manifest import METADATA_KEY
from catseye.preprocess import normalise
from catseye.runtimes import model_file
from catseye.runtimes import onnx as onnx_runtime
from catseye.runtimes.onnx import open_onnx
from catseye.runtimes.onnx_structure import DOMAINS, read_structure
from tests.unit.onnx_files import (
    CLASSES,
    HIDING_PLACES,
    SPEC,
    manifest,
    outside,
    tiny_model,
    with_initializer,
    with_sparse,
)


@pytest.fixture
def write(tmp_path):
    """Write a model, or bytes, as model.onnx and return its path."""

    def write(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return write


def colour(index):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., index] = 255
    return pixels


def test_an_honest_file_answers(write):
    classifier = catseye.load(write(tiny_model(temperature=2.0)))
    assert classifier.classes == CLASSES
    assert [answer.label for answer in classifier.predict_many([colour(2), colour(0)])] == ["blue", "red"]
    wanted = softmax(np.array([[0, 255 / 64, 0]]), 2.0)[0]
    np.testing.assert_allclose(classifier.predict(colour(1)).probabilities, wanted, rtol=1e-6)


def test_the_structure_is_the_one_that_onnx_reads(write):
    model = tiny_model()
    found = read_structure(model.SerializeToString(), "m")
    assert sum(found.operators.values()) == len(model.graph.node)
    assert (found.opset, found.ir_version, found.operators["MatMul"]) == (18, 10, 1)
    assert found.num_parameters == sum(numpy_helper.to_array(one).size for one in model.graph.initializer)
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}


def test_a_float_input_is_normalised_as_everywhere(write):
    said = manifest(input_kind="float")
    model = tiny_model(said)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    opened = open_onnx(write(model))
    pixels = np.stack([colour(1)])
    wanted = normalise(pixels, SPEC).mean(axis=(2, 3)) / 64
    np.testing.assert_allclose(opened.run(pixels)["prediction"], wanted, rtol=1e-6)


LOCATIONS = ["canary.bin", "a/../../x", "{folder}/canary.bin", "linked/canary.bin", "hard.bin", "*/_ORT_MEM_ADDR_/*"]


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Real files at all the places that LOCATIONS name, below the folder from which paths would be resolved."""
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").mkdir()
    canary = tmp_path / "secret" / "canary.bin"
    canary.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    for name in ("canary.bin", "x", "a/x"):
        (tmp_path / name).write_bytes(canary.read_bytes())
    (tmp_path / "linked").symlink_to(tmp_path / "secret")
    os.link(canary, tmp_path / "hard.bin")
    monkeypatch.chdir(tmp_path)
    return canary


@pytest.mark.parametrize("hide", HIDING_PLACES, ids=lambda hide: hide.__name__)
@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_in_another_file_are_refused_before_a_session_exists(write, canary, hide, location, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda name, *rest: opened.append(str(name)) or real(name, *rest))
    path = write(hide(outside(location.format(folder=canary.parent), length=16, offset=0)))
    with pytest.raises(ModelFileError, match="external data"):
        catseye.load(path)
    assert opened == [str(path)], "nothing but the model file is opened"


@pytest.mark.parametrize("length", [-1, 10**15, 2**63, "ten", ""])
def test_odd_lengths_of_external_data_are_refused(write, canary, length):
    with pytest.raises(ModelFileError, match="external data"):
        catseye.load(write(with_initializer(outside("canary.bin", length=length, offset=length))))


def test_sparse_indices_outside_are_refused(write, canary):
    with pytest.raises(ModelFileError, match="external data"):
        catseye.load(write(with_sparse(outside("canary.bin", length=32), indices_outside=True)))


def test_external_entries_without_the_flag_and_the_flag_without_entries_are_refused(write):
    flagged = outside("x")
    del flagged.external_data[:]
    hidden = outside("x")
    hidden.data_location = TensorProto.DEFAULT
    for tensor in (flagged, hidden):
        with pytest.raises(ModelFileError, match="external data"):
            catseye.load(write(with_initializer(tensor)))


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("payload-ran",))


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", content)
    return stream.getvalue()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [bytes, zipped])
def test_a_pickle_renamed_onnx_is_refused_and_does_not_run(write, tmp_path, monkeypatch, protocol, wrap):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        catseye.load(write(wrap(pickle.dumps(Payload(), protocol))))
    assert not (tmp_path / "payload-ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x00", b"ORTM" * 9, b"\x08\x0a", b"\xff" * 99, b"\x3a\xff\xff\xff\xff\x7f"])
def test_other_bytes_are_refused(write, content):
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        catseye.load(write(content))


@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_raises_nothing_else(tmp_path_factory, data):
    content = bytearray(tiny_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        read_structure(path.read_bytes(), "m")
    except ModelFileError:
        return


def test_nan_weights_are_refused(write):
    model = tiny_model()
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((3, 3), np.nan, np.float32), "weight"))
    with pytest.raises(ModelFileError, match="has weights that are NaN"):
        catseye.load(write(model))
    typed = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[3, 3], float_data=[float("nan")] * 9)
    model.graph.initializer[1].CopyFrom(typed)
    with pytest.raises(ModelFileError, match="has weights that are NaN"):
        catseye.load(write(model))
    # Also where no answer shows it: a ReLU makes 0 of it, and an index may never be taken.
    unused = with_initializer(TensorProto(name="n", data_type=TensorProto.FLOAT, dims=[1], float_data=[float("nan")]))
    with pytest.raises(ModelFileError, match="has weights that are NaN"):
        catseye.load(write(unused))


@pytest.mark.parametrize("where", ["an operator", "a domain", "a key of the metadata"])
def test_names_that_are_no_text_are_found_in_the_bytes(where):
    model = tiny_model()
    if where == "a key of the metadata":
        model.metadata_props.add(key="QQQQ", value="x")
    else:
        names = ("QQQQ", "") if where == "an operator" else ("Anything", "QQQQ")
        model.graph.node.append(helper.make_node(names[0], ["x"], ["y"], domain=names[1]))
    content = model.SerializeToString()
    assert content.count(b"QQQQ") == 1
    with pytest.raises(ModelFileError, match=r"is not an ONNX file .*utf-8"):
        read_structure(content.replace(b"QQQQ", b"Q\xff\xffQ"), "m.onnx")


def test_infinite_answers_are_refused(write):
    model = tiny_model()
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((3, 3), 3e38, np.float32), "weight"))
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        catseye.load(write(model))


def test_a_graph_that_contradicts_its_temperature_is_refused(write):
    with pytest.raises(ModelFileError, match="temperature"):
        catseye.load(write(tiny_model(manifest(temperature=2.0), temperature=1.0)))


def test_without_a_manifest(write):
    model = tiny_model()
    del model.metadata_props[:]
    with pytest.raises(ModelFileError, match="no catseye manifest"):
        catseye.load(write(model))
    with pytest.raises(ModelFileError, match="its manifest is wrong"):
        catseye.load(write(tiny_model('{"classes": []}')))
    with pytest.raises(ModelFileError, match="what its input is"):
        catseye.load(write(tiny_model(manifest(input_kind=None))))


def test_a_manifest_that_is_there_twice_is_refused(write):
    model = tiny_model()
    model.metadata_props.add(key=METADATA_KEY, value=manifest(classes=("a", "b", "c")).to_json())
    with pytest.raises(ModelFileError, match="twice"):
        catseye.load(write(model))


@pytest.mark.parametrize(
    "more",
    [{"classes": ("a", "b")}, {"input_kind": "float"}, {"preprocessing": SPEC.model_copy(update={"height_px": 5})}],
)
def test_a_face_other_than_the_manifests_is_refused(write, more):
    with pytest.raises(ModelFileError, match="puts should be"):
        catseye.load(write(tiny_model(manifest(**more))))


def test_a_fixed_batch_size_is_refused(write):
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ModelFileError, match="inputs should be"):
        catseye.load(write(model))


def test_foreign_operators_are_refused(write):
    for operator, domain in (("Anything", "evil.example"), ("EPContext", "com.microsoft")):
        model = tiny_model()
        model.graph.node.append(helper.make_node(operator, ["x"], ["y"], domain=domain))
        # From the bytes: ONNX Runtime would refuse most of them too, after it has looked for what they name.
        with pytest.raises(ModelFileError, match=f"uses the operator .*{operator}.*, which is not opened"):
            read_structure(model.SerializeToString(), "m.onnx")
        with pytest.raises(ModelFileError, match="which is not opened"):
            catseye.load(write(model))
    assert "" in DOMAINS


def test_an_operator_that_does_not_exist_is_one_clear_sentence(write):
    model = tiny_model()
    model.graph.node.append(helper.make_node("Nonesuch", ["x"], ["y"]))
    with pytest.raises(ModelFileError, match="cannot be run by ONNX Runtime"):
        catseye.load(write(model))


def test_too_large_a_file_is_not_read(write, monkeypatch):
    path = write(tiny_model())
    monkeypatch.setattr(model_file, "MAX_BYTES", 100)
    with pytest.raises(ModelFileError, match="at most 100 bytes"):
        catseye.load(path)


def test_a_missing_file_a_folder_and_a_pipe(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        catseye.load(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelFileError):
        catseye.load(tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        catseye.load(tmp_path / "pipe.onnx")


def test_a_file_swapped_after_opening_changes_nothing(write, monkeypatch):
    """The bytes that were judged are those that run, and those that are hashed."""
    from hashlib import sha256

    path = write(tiny_model())
    wanted = sha256(path.read_bytes()).hexdigest()
    real = onnx_runtime.read_structure

    def swap(content, source):
        path.write_bytes(with_initializer(outside("canary.bin")).SerializeToString())
        return real(content, source)

    monkeypatch.setattr(onnx_runtime, "read_structure", swap)
    assert open_onnx(path).sha256 == wanted


def test_too_many_fields_are_refused(write, monkeypatch):
    monkeypatch.setattr("catseye.runtimes.onnx_structure.MAX_FIELDS", 50)
    with pytest.raises(ModelFileError, match="more than 50 fields"):
        catseye.load(write(tiny_model()))


@pytest.mark.parametrize("dims", [[2**41], [2**30, 2**30], [-1], [2**62, 2**62, 2**62]])
def test_a_tensor_of_more_elements_than_any_file_has_is_refused(write, dims, monkeypatch):
    """From the bytes: a runtime would try to take memory for them."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    tensor = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=dims)
    with pytest.raises(ModelFileError, match="a tensor with a dimension of"):
        open_onnx(write(with_initializer(tensor)))


def test_the_session_is_told_to_read_nothing_but_onnx(write, monkeypatch):
    """Bytes may look like ONNX Runtime's own format as well, which nobody here has judged."""
    seen = []
    real = onnxruntime.InferenceSession

    def session(content, options, **more):
        seen.append(options.get_session_config_entry("session.load_model_format"))
        return real(content, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    open_onnx(write(tiny_model()))
    assert seen == ["ONNX"]


def test_only_the_cpu(write):
    with pytest.raises(UsageError, match="CPU"):
        catseye.load(write(tiny_model()), device="cuda")


def test_one_session_answers_many_threads(write):
    classifier = catseye.load(write(tiny_model()))
    wrong = []

    def ask(index):
        wrong.extend(answer for _ in range(50) if (answer := classifier.predict(colour(index)).label) != CLASSES[index])

    threads = [threading.Thread(target=ask, args=(index % 3,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_reader_looks_into_every_message_that_can_hold_a_tensor():
    """A new IR version may add a place; then this fails, and `_CHILDREN` needs a line."""
    from catseye.runtimes.onnx_structure import _CHILDREN

    names = {"model": "ModelProto", "training": "TrainingInfoProto", "function": "FunctionProto", "graph": "GraphProto"}
    names |= {"node": "NodeProto", "attribute": "AttributeProto", "sparse": "SparseTensorProto"}
    holds = {"TensorProto", "SparseTensorProto", "GraphProto", "NodeProto", "AttributeProto", "FunctionProto"}
    holds |= {"TrainingInfoProto"}
    for kind, name in names.items():
        fields = getattr(onnx, name).DESCRIPTOR.fields
        wanted = {field.number for field in fields if field.message_type and field.message_type.name in holds}
        assert wanted <= _CHILDREN[kind].keys(), name
    every = {message.name: message for message in onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values()}
    elsewhere = {
        name
        for name, message in every.items()
        for field in message.fields
        if field.message_type and field.message_type.name in holds
    }
    assert elsewhere <= set(names.values())
