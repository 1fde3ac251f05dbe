"""`catseye export`: a run in, one proved file out.

load run -> build the graph -> write a candidate -> ask run and candidate about the same pictures -> rename into
place. No parity, no file. Called by cli.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.devices import choose_device
from catseye.errors import UsageError
from catseye.exporting.golden import write_golden
from catseye.exporting.held_out import HeldOut, read_held_out
from catseye.exporting.model_card import model_card
from catseye.exporting.onnx_file import build_onnx, render
from catseye.exporting.parity import Comparison, Limits, compare, require
from catseye.files import write_atomically
from catseye.onnx_runtime import OnnxModel, open_onnx
from catseye.preprocess import Pixels
from catseye.runs import load_classifier, load_model, open_run

FORMATS = ("onnx",)
NUM_PICTURES = 256  # enough to meet every class; all there are where a run holds fewer out


@dataclass(frozen=True)
class Exported:
    """The file, its size, how it was proved, and what else was written."""

    path: Path
    num_bytes: int
    sha256: str
    comparison: Comparison
    card: Path
    golden: Path | None


def export(
    run: str | Path,
    *,
    to: str = "onnx",
    input_kind: str = "uint8",
    out: str | Path | None = None,
    golden: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Export a run to one ONNX file that was proved to answer as the run does.

    The file goes to `out` (a folder, or a path that ends in .onnx), else to RUN/export/model.onnx; export.md, a
    model card, goes beside it, and `golden` pictures with their tensors and expected probabilities below it. The
    run computes on `device`; the file on the CPU.

    Raises:
        UsageError: an unknown format, or `out` cannot be made. ModelFileError: no finished run.
        DataError: the held-out pictures are gone. CatseyeError: no parity, and so no file.

    """
    if to not in FORMATS:
        raise UsageError(f"--to is one of: {', '.join(FORMATS)}; got {to!r}")
    if input_kind not in ("uint8", "float"):
        raise UsageError(f"--input is uint8 or float; got {input_kind!r}")
    where = choose_device(device)
    opened = open_run(run)
    model, manifest = load_model(opened.path, torch.device("cpu"))
    manifest = manifest.model_copy(update={"input_kind": input_kind})
    pictures = read_held_out(opened, manifest, NUM_PICTURES)
    target = _target(opened.path, out)

    say(f"building the graph of {manifest.architecture.name}")
    proto = build_onnx(model, manifest)

    candidate = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        write_atomically(candidate, render(proto, manifest))
        say(f"asking run and file about {len(pictures.names)} {pictures.split} pictures")
        comparison = _prove(opened.path, where, open_onnx(candidate), pictures)
        require(comparison, Limits(), str(target))
        # The proof goes into the metadata; the graph that was proved stays as it is. Opened once more, as users do.
        proved = manifest.model_copy(update={"parity": comparison.to_manifest(_runtime())})
        write_atomically(candidate, render(proto, proved))
        final = open_onnx(candidate)
        candidate.replace(target)
    finally:
        candidate.unlink(missing_ok=True)
        if out is None:
            with suppress(OSError):
                target.parent.rmdir()  # only where it is empty: nothing was written

    card = target.parent / "export.md"
    write_atomically(card, model_card(target.name, final, comparison))
    pairs = write_golden(target.parent / "golden", final, pictures, comparison, golden) if golden else None
    return Exported(target, final.num_bytes, final.sha256, comparison, card, pairs)


def _prove(run: Path, where: torch.device, file: OnnxModel, pictures: HeldOut) -> Comparison:
    def ask(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = file.run(pixels)
        return outputs["prediction"], outputs["probability"]

    # TF32 rounds to 10 bits: a GPU's reference would be further off than the file.
    with torch.backends.cudnn.flags(allow_tf32=False):
        return compare(
            load_classifier(run, where), ask, file.manifest.preprocessing, file.manifest.temperature, pictures
        )


def _target(run: Path, out: str | Path | None) -> Path:
    path = Path(out) if out is not None else run / "export"
    path = path if path.suffix.lower() == ".onnx" else path / "model.onnx"
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; give a folder without that suffix, or a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path.parent} cannot be made ({error.strerror})") from None
    return path


def _runtime() -> str:
    return f"onnxruntime {version('onnxruntime')}"
