"""The formats: their names, how drafts are built, and the proofs' tolerances.

Enters: a network, its manifest and, for INT8, images. Leaves: a `Draft` per file, or the error in its place. Called by
`export.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from catseye.errors import CatseyeError
from catseye.exporting import onnx_file
from catseye.exporting.graph import Graph
from catseye.exporting.held_out import HeldOut
from catseye.exporting.offered import FORMATS as FORMATS
from catseye.exporting.parity_result import ParityLimits
from catseye.files import write_atomically
from catseye.manifest import Manifest
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel
from catseye.runtimes.torch_archive import with_manifest

if TYPE_CHECKING:
    from onnx import ModelProto

Write = Callable[[Path, Manifest], None]


def _open_trusted(path: Path) -> OpenedModel:
    return open_model(path, trust=True)


@dataclass(frozen=True)
class Draft:
    """A file or folder that is built but not proved yet.

    `write` writes it to a path, with a manifest inside. `open` opens it as its users do. `more_outputs`: whether the
    format can have familiarity and heat maps.
    """

    format: str
    file: str
    manifest: Manifest
    write: Write = field(repr=False)
    limits: ParityLimits = field(default_factory=ParityLimits)
    open: Callable[[Path], OpenedModel] = field(default=_open_trusted, repr=False)
    more_outputs: bool = True


@dataclass
class Source:
    """What drafts are made from; anything that several of them need is computed once."""

    model: nn.Module
    manifest: Manifest
    material: tuple[HeldOut, HeldOut] | None
    max_drop: float
    say: Callable[[str], None]

    @cached_property
    def graph(self) -> Graph:
        """Network, normalisation and outputs as one module."""
        return Graph(self.model.cpu(), self.manifest).eval()

    @cached_property
    def proto(self) -> "ModelProto":
        """The ONNX graph, which OpenVINO, TensorRT and INT8 start from."""
        self.say(f"building the ONNX graph of {self.manifest.architecture.name}")
        return onnx_file.build_onnx(self.model, self.manifest)

    @property
    def onnx_bytes(self) -> bytes:
        """The ONNX file without a proof."""
        return onnx_file.render_onnx(self.proto, self.manifest)

    def named(self, update: dict[str, Any] | None = None) -> Manifest:
        """The manifest of a format whose files do not name their outputs."""
        return self.manifest.model_copy(update={"outputs": tuple(self.graph.output_names), **(update or {})})


def build_drafts(source: Source, formats: Sequence[str]) -> Iterator[Draft | CatseyeError]:
    """Each format's float draft, then its INT8 draft if there are images for it.

    After a failure it continues with the next draft.
    """
    builders = {
        "onnx": _onnx,
        "torchscript": _torchscript,
        "torch-export": _torch_export,
        "aotinductor": _aotinductor,
        "openvino": _draft_openvino,
        "tensorrt": _tensorrt,
        "hub": _hub,
    }
    int8_builders = {"onnx": _onnx_int8, "openvino": _openvino_int8, "tensorrt": _tensorrt_int8}
    for name in formats:
        builds = [builders[name]]
        if source.material is not None and name in int8_builders:
            builds.append(int8_builders[name])
        for build in builds:
            try:
                yield build(source)
            except CatseyeError as error:
                yield error


def _onnx(source: Source) -> Draft:
    return Draft("onnx", FORMATS["onnx"], source.manifest, partial(_write_onnx, source.proto))


def _write_onnx(proto: "ModelProto", path: Path, manifest: Manifest) -> None:
    write_atomically(path, onnx_file.render_onnx(proto, manifest))


def _onnx_int8(source: Source) -> Draft:
    from catseye.exporting.int8 import quantise

    calibration, selection = _material(source)
    proto, how = quantise(source.onnx_bytes, source.manifest, calibration, selection, source.max_drop, source.say)
    manifest = source.manifest.model_copy(update={"quantisation": how})
    return Draft("onnx int8", "model.int8.onnx", manifest, partial(_write_onnx, proto), _budget(source))


def _torchscript(source: Source) -> Draft:
    from catseye.exporting.torchscript import WARNING, build_torchscript

    source.say(WARNING)
    return _archive(source, "torchscript", build_torchscript(source.graph))


def _torch_export(source: Source) -> Draft:
    from catseye.exporting.torch_export import build_torch_export

    source.say("building the torch.export program")
    return _archive(source, "torch-export", build_torch_export(source.graph))


def _aotinductor(source: Source) -> Draft:
    from catseye.exporting.torch_export import build_aotinductor

    source.say("compiling with AOTInductor, about a minute")
    return _archive(source, "aotinductor", build_aotinductor(source.graph))


def _archive(source: Source, name: str, archive: bytes) -> Draft:
    def write(path: Path, manifest: Manifest) -> None:
        write_atomically(path, with_manifest(archive, manifest.to_json()))

    return Draft(name, FORMATS[name], source.named(), write)


def _draft_openvino(source: Source) -> Draft:
    from catseye.exporting.openvino_ir import convert, write_ir

    return Draft("openvino", FORMATS["openvino"], source.manifest, partial(write_ir, convert(source.onnx_bytes)))


def _openvino_int8(source: Source) -> Draft:
    from catseye.exporting.int8_openvino import quantise_openvino
    from catseye.exporting.openvino_ir import convert, write_ir

    calibration, selection = _material(source)
    model, how = quantise_openvino(
        convert(source.onnx_bytes), source.manifest, calibration, selection, source.max_drop, source.say
    )
    manifest = source.manifest.model_copy(update={"quantisation": how})
    return Draft("openvino int8", "model.int8.xml", manifest, partial(write_ir, model), _budget(source))


def _tensorrt(source: Source) -> Draft:
    from catseye.exporting.tensorrt_engine import build_engine

    source.say("building a TensorRT engine")
    return _draft_engine(
        "tensorrt", FORMATS["tensorrt"], build_engine(source.onnx_bytes, source.manifest, int8=False), source
    )


def _tensorrt_int8(source: Source) -> Draft:
    from catseye.exporting.int8 import quantise
    from catseye.exporting.tensorrt_engine import build_engine

    calibration, selection = _material(source)
    proto, how = quantise(
        source.onnx_bytes, source.manifest, calibration, selection, source.max_drop, source.say, symmetric=True
    )
    plan = build_engine(onnx_file.render_onnx(proto, source.manifest), source.manifest, int8=True)
    return _draft_engine("tensorrt int8", "model.int8.engine", plan, source, {"quantisation": how})


def _draft_engine(name: str, file: str, plan: bytes, source: Source, update: dict[str, Any] | None = None) -> Draft:
    from catseye.runtimes.tensorrt_engine_file import join_engine

    def write(path: Path, manifest: Manifest) -> None:
        write_atomically(path, join_engine(plan, manifest))

    # float16 changes the third digit of probabilities, so the accuracy decides.
    return Draft(name, file, source.named(update), write, _budget(source))


def _hub(source: Source) -> Draft:
    from catseye.exporting.hub import open_hub_folder, twin_of, write_hub_folder

    # timm's network has no familiarity and takes normalised floats.
    update = {"input_kind": "float", "familiarity_threshold": None}
    manifest = source.manifest.model_copy(update=update)
    write = partial(write_hub_folder, twin_of(source.model, manifest))
    return Draft("hub", FORMATS["hub"], manifest, write, open=open_hub_folder, more_outputs=False)


def _material(source: Source) -> tuple[HeldOut, HeldOut]:
    if source.material is None:
        raise CatseyeError("INT8 needs training images to calibrate on; got none")
    return source.material


def _budget(source: Source) -> ParityLimits:
    return ParityLimits(max_drop=source.max_drop)
