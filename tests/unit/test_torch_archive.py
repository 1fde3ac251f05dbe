"""A .pt2 or TorchScript file from a stranger: judged before torch sees it, and never started without trust."""

import contextlib
import io
import json
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from catseye.errors import ModelFileError
from catseye.exporting.graph import Graph
from catseye.exporting.torch_export import build_torch_export
from catseye.exporting.torchscript import build_torchscript
from catseye.runtimes.inspection import info
from catseye.runtimes.loading import load
from catseye.runtimes.torch_archive import AOTINDUCTOR, TORCH_EXPORT, TORCHSCRIPT, read_archive, with_manifest
from tests.unit.onnx_files import manifest


class Tiny(nn.Module):
    """The mean red, green and blue; in the shape of the model contract."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))


@pytest.fixture(scope="module")
def archives():
    torch.manual_seed(0)
    graph = Graph(Tiny(), manifest()).eval()
    said = manifest(outputs=tuple(graph.output_names)).to_json()
    build = {".torchscript": build_torchscript, ".pt2": build_torch_export}
    return {suffix: with_manifest(make(graph), said) for suffix, make in build.items()}


def rewrite(content, change):
    """The archive with entries changed: `change(name, data)` returns the new data, None leaves the entry out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename.split("/", 1)[1], old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), data)
    return stream.getvalue()


def replace(name, data):
    return lambda one, old: data if one == name else old


class Canary:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".torchscript", ".pt2"])
def test_an_honest_file_answers_with_trust_and_only_with_it(archives, suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(archives[suffix])
    with pytest.raises(ModelFileError, match=r"is a program.*--trust"):
        load(path)
    answer = load(path, trust=True).predict(np.zeros((4, 4, 3), np.uint8))
    assert answer.probabilities.sum() == pytest.approx(1)
    found = info(path)
    assert found.format == {".torchscript": TORCHSCRIPT, ".pt2": TORCH_EXPORT}[suffix]
    assert [name for name, _, _ in found.outputs] == ["prediction", "probability", "cam"]
    assert sum("conv" in name for name in found.operators) == 1
    if suffix == ".pt2":
        assert found.num_parameters == 3 * 3 + 3 + 3 * 3 + 3


@pytest.mark.parametrize("suffix", [".torchscript", ".pt2"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(archives, suffix, share):
    content = archives[suffix]
    with pytest.raises(ModelFileError):
        read_archive(content[: int(len(content) * share)], "m")


def test_a_pickle_of_torch_save_is_refused_unopened(tmp_path):
    stream = io.BytesIO()
    torch.save(Canary(tmp_path / "canary"), stream)
    with pytest.raises(ModelFileError, match="never opened"):
        read_archive(stream.getvalue(), "m")
    with pytest.raises(ModelFileError, match="not a zip archive"):
        read_archive(pickle.dumps(Canary(tmp_path / "canary")), "m")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("suffix", "name"), [(".torchscript", "data.pkl"), (".torchscript", "constants.pkl"), (".pt2", "")]
)
def test_a_pickle_that_calls_is_refused(archives, suffix, name, protocol, tmp_path):
    evil = pickle.dumps(Canary(tmp_path / "canary"), protocol=protocol)
    if suffix == ".pt2":
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as samples:
            samples.writestr("archive/data.pkl", evil)
            samples.writestr("archive/version", "3")
        evil, name = inner.getvalue(), "data/sample_inputs/model.pt"
    path = tmp_path / f"m{suffix}"
    path.write_bytes(rewrite(archives[suffix], replace(name, evil)))
    with pytest.raises(ModelFileError, match="pickle that would call"):
        load(path, trust=True)
    assert not (tmp_path / "canary").exists()


def test_torch_itself_would_have_opened_such_a_pickle(archives, tmp_path):
    """Why the archive is judged first: torch.export.load falls back to unlimited unpickling."""
    inner = io.BytesIO()
    torch.save((Canary(tmp_path / "canary"),), inner)
    content = rewrite(archives[".pt2"], replace("data/sample_inputs/model.pt", inner.getvalue()))
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(io.BytesIO(content))
    assert (tmp_path / "canary").exists()


def change_program(change):
    def apply(name, data):
        if name != "models/model.json":
            return data
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return apply


def first_node(program):
    return program["graph_module"]["graph"]["nodes"][0]


def put_symbol(program):
    program["range_constraints"] = {"as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}}


def pickled_weights(name, data):
    if name != "data/weights/model_weights_config.json":
        return data
    return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)


HOSTILE_PROGRAMS = {
    "guards": (change_program(lambda one: one.update(guards_code=["import os"])), "Python code"),
    "expression": (change_program(put_symbol), "not evaluated"),
    "operator": (change_program(lambda one: first_node(one).update(target="os.system")), "operator 'os.system'"),
    "other library": (
        change_program(lambda one: first_node(one).update(target="torch.ops.image.read_file")),
        "read_file",
    ),
    "pickled weights": (pickled_weights, "stores weights as pickles"),
    "no program": (replace("models/model.json", b"[1]"), "damaged"),
    "nested": (replace("models/model.json", b"[" * 100_000), "damaged"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE_PROGRAMS.values(), ids=HOSTILE_PROGRAMS)
def test_a_hostile_program_is_refused(archives, change, message):
    with pytest.raises(ModelFileError, match=message):
        read_archive(rewrite(archives[".pt2"], change), "m")


def add(content, name, data=b"x"):
    stream = io.BytesIO(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the name that stands there twice
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "name", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/weights/model.pt", "x"]
)
def test_entries_that_export_never_writes_are_refused(archives, name):
    with pytest.raises(ModelFileError, match="never writes"):
        read_archive(add(archives[".pt2"], f"archive/{name}"), "m")


@pytest.mark.parametrize("suffix", [".torchscript", ".pt2"])
def test_odd_zips_are_refused(archives, suffix, monkeypatch):
    content = archives[suffix]
    with pytest.raises(ModelFileError, match="two entries with the same name"):
        read_archive(add(content, "archive/extra/catseye"), "m")
    for name in ("elsewhere/x", "archive/../x", "x"):
        with pytest.raises(ModelFileError, match="one folder"):
            read_archive(add(content, name), "m")
    bomb = io.BytesIO(content)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/code/zeros", bytes(2**24))
    monkeypatch.setattr("catseye.runtimes.torch_archive.MAX_UNPACKED_BYTES", 2**23)
    with pytest.raises(ModelFileError, match="unpacks to more"):
        read_archive(bomb.getvalue(), "m")


@pytest.mark.parametrize(
    "call",
    [
        "torch.save(x, 'f')",
        "torch.from_file('f')",
        "ops.image.read_file('f')",
        "ops.aten.save(x)",
        "getattr(torch, 'save')(x, 'f')",
        "getattr(ops.aten, 'save')(x, 'f')",
        "__torch__.torch.classes.a.B(x)",
    ],
)
def test_torchscript_that_reaches_beyond_the_network_is_refused(archives, call):
    def change(name, data):
        return data + f"\n  def more(self, x):\n    return {call}\n".encode() if name.endswith(".py") else data

    with pytest.raises(ModelFileError, match="a network does not need"):
        read_archive(rewrite(archives[".torchscript"], change), "m")


def test_a_package_is_told_from_a_program_and_needs_trust(archives, tmp_path):
    path = tmp_path / "m.pt2"
    path.write_bytes(add(archives[".pt2"], "archive/data/aotinductor/model/x.so"))
    assert info(path).format == AOTINDUCTOR
    with pytest.raises(ModelFileError, match="AOTInductor package file is a program"):
        load(path)


def test_a_manifest_that_is_missing_or_wrong(archives, tmp_path):
    path = tmp_path / "m.pt2"
    for change, message in (
        (lambda name, data: None if name.startswith("extra/") else data, "carries no catseye manifest"),
        (replace("extra/catseye", b"{}"), "manifest is wrong"),
        (replace("extra/catseye", manifest().to_json().encode()), "outputs are"),
        (replace("extra/catseye", manifest(outputs=("prediction", "x", "cam")).to_json().encode()), "shape"),
    ):
        path.write_bytes(rewrite(archives[".pt2"], change))
        with pytest.raises(ModelFileError, match=message):
            load(path, trust=True)


def test_other_temperature_than_the_graphs(archives, tmp_path):
    path = tmp_path / "m.torchscript"
    said = manifest(outputs=("prediction", "probability", "cam"), temperature=3.0).to_json().encode()
    path.write_bytes(rewrite(archives[".torchscript"], replace("extra/catseye", said)))
    with pytest.raises(ModelFileError, match="temperature of its manifest"):
        load(path, trust=True)
