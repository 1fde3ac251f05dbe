"""Model files of strangers, as `open_model` judges and reads them."""

import contextlib
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from catseye.errors import CatseyeError
from catseye.manifest import METADATA_KEY, Manifest
from catseye.runtimes.trial import INSIDE
from tests.fuzz.entries import as_zip
from tests.fuzz.in_child import in_child
from tests.fuzz.targets import Run, own_folder

PLACE = b"@SHA256@"  # in an .xml: the digest of the .bin, which a mutation could not guess


def _opener(path: Path) -> Callable[[], object]:
    from catseye.runtimes.loading import open_model

    def open_it() -> object:
        os.environ[INSIDE] = "1"  # the fork is the child in which a stranger's file is tried
        return open_model(path, threads=1)

    return open_it


def onnx() -> Run:
    """Judged here; what passes is opened by ONNX Runtime in a fork."""
    import onnxruntime

    from catseye.runtimes.onnx_structure import read_structure

    onnxruntime.set_default_logger_severity(4)
    path = own_folder() / "m.onnx"
    open_it = _opener(path)

    def run(data: bytes) -> None:
        with contextlib.suppress(CatseyeError):
            found = read_structure(data, "m.onnx")
            Manifest.from_json(found.metadata.get(METADATA_KEY), "m.onnx")
            path.write_bytes(data)
            in_child(open_it)

    return run


def openvino() -> Run:
    """Four bytes of length, the .xml, the .bin."""
    from catseye.runtimes.openvino import require_openvino
    from catseye.runtimes.openvino_structure import read_ir

    require_openvino()
    path = own_folder() / "m.xml"
    open_it = _opener(path)

    def run(data: bytes) -> None:
        length = int.from_bytes(data[:4], "little")
        xml, weights = data[4 : 4 + length], data[4 + length :]
        xml = xml.replace(PLACE, sha256(weights).hexdigest().encode())
        with contextlib.suppress(CatseyeError):
            read_ir(xml, weights, "m.xml")
            path.write_bytes(xml)
            path.with_suffix(".bin").write_bytes(weights)
            in_child(open_it)

    return run


def safetensors() -> Run:
    import torch

    from catseye.runs import load_model

    torch.set_num_threads(1)
    path = own_folder() / "model.safetensors"
    where = torch.device("cpu")

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(CatseyeError):
            load_model(path, where)

    return run


def torch_archive() -> Run:
    from catseye.runtimes.torch_archive import read_archive

    def run(data: bytes) -> None:
        try:
            content = as_zip(data)
        except Exception:  # noqa: BLE001 - no such zip can be written
            return
        with contextlib.suppress(CatseyeError):
            archive = read_archive(content, "m.pt2")
            Manifest.from_json(archive.manifest, "m.pt2")

    return run


def engine() -> Run:
    from catseye.runtimes.tensorrt_engine_file import join_engine, split_engine

    def run(data: bytes) -> None:
        with contextlib.suppress(CatseyeError):
            said, plan = split_engine(data, "m.engine")
            again, same = split_engine(join_engine(plan, said), "m.engine")
            assert (again, same) == (said, plan)

    return run
