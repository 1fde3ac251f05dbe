"""An ONNX graph as an OpenVINO IR: MODEL.xml and MODEL.bin.

MODEL.xml has the manifest and the hash of MODEL.bin.

Enters: the bytes of an ONNX file, or an OpenVINO model made from one. Leaves: the two files. Called by `drafts.py`.
"""

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from catseye.errors import CatseyeError, MissingDependency
from catseye.files import write_atomically
from catseye.manifest import METADATA_KEY, Manifest
from catseye.runtimes.openvino_structure import WEIGHTS_KEY


def convert(onnx_bytes: bytes) -> Any:
    """An `openvino.Model`, read by the C++ front end.

    OpenVINO's Python converter would report its use to Intel.

    Raises:
        MissingDependency: OpenVINO is not installed. CatseyeError: it cannot express the network.

    """
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(error.name or "openvino") from None
    try:
        return openvino.Core().read_model(onnx_bytes)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:300]
        raise CatseyeError(f"OpenVINO cannot express the network ({reason})") from error


def write_ir(model: Any, path: Path, manifest: Manifest) -> None:
    """Write the .bin first, then `path`.

    An .xml without its .bin is refused, never misread.
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.xml"
        openvino.save_model(model, str(draft), compress_to_fp16=False)
        xml, weights = draft.read_bytes(), draft.with_suffix(".bin").read_bytes()
    root = ElementTree.fromstring(xml)  # noqa: S314 - OpenVINO has just written it
    info = root.find("rt_info")
    info = ElementTree.SubElement(root, "rt_info") if info is None else info
    for entry in [entry for entry in info if entry.tag in ("framework", METADATA_KEY, WEIGHTS_KEY)]:
        info.remove(entry)  # the ONNX file's own metadata
    ElementTree.SubElement(info, METADATA_KEY, value=manifest.to_json())
    ElementTree.SubElement(info, WEIGHTS_KEY, value=sha256(weights).hexdigest())
    write_atomically(path.with_suffix(".bin"), weights)
    write_atomically(path, b'<?xml version="1.0"?>\n' + ElementTree.tostring(root) + b"\n")
