"""Writes a file only with proof that it gives the run's answers.

Enters: a draft of each format. Leaves: proved files. Write a candidate into a hidden folder -> compare run and
candidate on the same images -> write the proof into it -> rename it into place. Without parity no file is written.
Called by export.py.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from catseye.classifier import Classifier
from catseye.counting import count
from catseye.errors import CatseyeError
from catseye.exporting.drafts import Draft, Source, build_drafts
from catseye.exporting.held_out import HeldOut
from catseye.exporting.map_proof import NUM_MAPS, compare_maps, torch_maps
from catseye.exporting.parity import RunAnswers, answers_of, compare_answers, require
from catseye.exporting.parity_result import ParityResult
from catseye.files import make_folder
from catseye.preprocess import Pixels
from catseye.runs import MODEL_FILE
from catseye.runtimes.model_file import OpenedModel


@dataclass(frozen=True)
class ExportedFile:
    """One file: where it is, its size, and how it was proved."""

    format: str
    path: Path
    num_bytes: int
    sha256: str
    comparison: ParityResult

    def __fspath__(self) -> str:
        """The path, so that an exported file can be passed as a model's path."""
        return str(self.path)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        facts = {"format": self.format, "path": str(self.path), "num_bytes": self.num_bytes, "sha256": self.sha256}
        return {**facts, "parity": self.comparison.to_json()}


@dataclass(frozen=True)
class Proof:
    """What files are compared with: the run, computed when the first file needs it.

    A float file is compared on the first `num_images` of the held-out images, INT8 on all of them and on `more`.
    """

    reference: Classifier
    source: Source
    images: HeldOut
    num_images: int
    more: HeldOut | None

    @cached_property
    def expected(self) -> RunAnswers:
        """The run's answers to all images."""
        # TF32 rounds to 10 bits: a reference computed with it would be less exact than the file.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return answers_of(self.reference, self.images)

    @cached_property
    def maps(self) -> NDArray[Any] | None:
        """Torch's own Grad-CAM of the first images, if the files will have maps.

        Shape: (N, h, w).
        """
        if not self.source.graph.has_map:
            return None
        spec = self.source.manifest.preprocessing
        return torch_maps(self.source.model, spec, self.images.part(0, NUM_MAPS))


def write_proved(
    proof: Proof, formats: Sequence[str], place_of: Callable[[Draft], Path]
) -> tuple[list[tuple[ExportedFile, OpenedModel]], list[CatseyeError]]:
    """Build, prove and place every format.

    Returns the written files, and the errors of the others.
    """
    written: list[tuple[ExportedFile, OpenedModel]] = []
    failures: list[CatseyeError] = []
    for draft in build_drafts(proof.source, formats):
        try:
            if isinstance(draft, CatseyeError):
                raise draft
            written.append(_prove_and_place(proof, draft, place_of(draft)))
        except CatseyeError as error:
            failures.append(error)
    return written, failures


def _prove_and_place(proof: Proof, draft: Draft, target: Path) -> tuple[ExportedFile, OpenedModel]:
    """Write the draft into a hidden folder, prove it and move it into place.

    The proof is written into it before it is moved.
    """
    beside = target.parent / f".{target.stem}.{os.getpid()}.new"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        candidate = beside / target.name
        draft.write(candidate, draft.manifest)
        file = draft.open(candidate)
        comparison = _compare(proof, draft, file, target.name)
        require(comparison, draft.limits, str(target))
        # The proof goes into the file; the proved graph stays unchanged. Opened once more, as users do.
        draft.write(candidate, draft.manifest.model_copy(update={"parity": comparison.to_manifest(file.runtime)}))
        final = draft.open(candidate)
        for part in sorted(beside.iterdir(), key=lambda part: part == candidate):
            _move(part, target.parent / part.name)  # the file itself last, after an OpenVINO IR's weights
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    proof.source.say(f"{target.name}: {final.num_bytes / 1e6:.2f} MB; {comparison.to_line()}")
    return ExportedFile(draft.format, target, final.num_bytes, final.sha256, comparison), final


def _compare(proof: Proof, draft: Draft, file: OpenedModel, name: str) -> ParityResult:
    """Compare the file's answers with the run's.

    If the file has heat maps, they are compared with torch's.
    """
    fewer_bits = draft.limits.max_drop is not None
    seen = proof.images if fewer_bits else proof.images.part(0, proof.num_images)
    proof.source.say(f"comparing the run and {name} on {count(len(seen.names), f'{seen.split} image')}")

    def ask(pixels: Pixels) -> tuple[NDArray[Any], ...]:
        outputs = file.run(pixels)
        wanted = ("prediction", "probability", "familiarity")
        return tuple(outputs[name] for name in wanted if name in outputs)

    comparison = compare_answers(
        proof.reference,
        ask,
        file.manifest.preprocessing,
        file.manifest.temperature,
        seen,
        expected=proof.expected.part(len(seen.names), familiarity=draft.more_outputs),
        more=proof.more if fewer_bits else None,
    )
    if draft.more_outputs and proof.maps is not None:
        first = proof.images.part(0, len(proof.maps))
        maps = file.run(first.pixels(file.manifest.preprocessing))["cam"]
        comparison = replace(comparison, heat_map=compare_maps(proof.maps, maps, first.names))
    return comparison


def _move(part: Path, place: Path) -> None:
    """Move a proved file, or the files of a proved folder, into place.

    A card that the user has edited is kept as a .bak file.
    """
    if not part.is_dir():
        part.replace(place)
        return
    make_folder(place)
    for file in sorted(part.iterdir(), key=lambda file: file.name == MODEL_FILE):
        there = place / file.name
        if file.suffix == ".md" and there.exists() and there.read_bytes() != file.read_bytes():
            there.replace(there.with_name(f"{there.name}.bak"))
        file.replace(there)
