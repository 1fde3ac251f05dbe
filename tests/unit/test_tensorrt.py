"""A TensorRT engine's file, and what is said where no GPU is."""

import pytest
import torch

from catseye.errors import ModelFileError
from catseye.exporting.tensorrt_engine import shapes, trtexec_command
from catseye.runtimes.inspection import info
from catseye.runtimes.loading import load
from catseye.runtimes.tensorrt_engine_file import join_engine, split_engine
from tests.unit.onnx_files import manifest

SAID = manifest(outputs=("prediction", "probability"))


def test_manifest_and_plan_come_back_from_one_file(tmp_path):
    content = join_engine(b"the plan", SAID)
    assert split_engine(content, "m") == (SAID, b"the plan")
    path = tmp_path / "m.engine"
    path.write_bytes(content)
    found = info(path)
    assert (found.format, found.manifest, found.num_bytes) == ("TensorRT engine", SAID, len(content))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff{}", b"\x02\0\0\0{}", join_engine(b"", SAID)[:99]]
)
def test_a_damaged_engine_is_refused(content):
    with pytest.raises(ModelFileError, match=r"^m"):
        split_engine(content, "m")


def test_an_engine_needs_trust_and_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "m.engine"
    path.write_bytes(join_engine(b"native code", SAID))
    with pytest.raises(ModelFileError, match=r"native code.*--trust"):
        load(path)
    with pytest.raises(ModelFileError, match=r"needs the NVIDIA GPU"):
        load(path, trust=True)


def test_the_command_names_the_shapes_of_both_input_kinds():
    assert shapes(SAID) == [(1, 4, 4, 3), (8, 4, 4, 3), (64, 4, 4, 3)]
    assert shapes(manifest(input_kind="float"))[0] == (1, 3, 4, 4)
    assert trtexec_command(SAID).endswith(
        "--fp16 --minShapes=image:1x4x4x3 --optShapes=image:8x4x4x3 --maxShapes=image:64x4x4x3"
    )
