"""A trained model measured on labelled images: its logits, ready to be scored.

Enters: an opened model and labelled images. Leaves: `MeasuredModel`. Called by `evaluate.py`, `calibrate.py`,
`compare.py` and `corruptions.py`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from catseye.counting import agree, count
from catseye.data.loaders import Loader, MemoryLoader, StreamLoader
from catseye.data.moved import locate_data
from catseye.data.prepare_evaluation import prepare_evaluation
from catseye.data.sources import Images, ImageSet, is_place
from catseye.errors import UsageError
from catseye.evaluation.predict import Outputs, collect_answers, collect_logits
from catseye.evaluation.provenance import Overlap, compare_with_training
from catseye.files import StrPath
from catseye.runs import open_run
from catseye.runtimes.model_file import OpenedModel


@dataclass(frozen=True)
class MeasuredModel:
    """A model's answers to images, with notes. `own`: these are the run's own images."""

    model: OpenedModel
    images: ImageSet
    outputs: Outputs
    bad: dict[int, str]
    source: str
    own: bool
    notes: list[str]
    loader: MemoryLoader | StreamLoader = field(repr=False)
    trained_on: int = 0  # of the images, how many are known to have trained the model

    @property
    def names(self) -> list[str]:
        """The images' names, row by row of the outputs."""
        return [self.images.names[index] for index in self.outputs.indices.tolist()]


def measure(
    model: OpenedModel,
    data: Images | None = None,
    *,
    data_dir: StrPath | None = None,
    strict: bool = False,
    split: str | None = None,
    moved: Images | None = None,
    held_out_only: bool = True,
) -> MeasuredModel:
    """One pass over held-out images.

    Without `data`, a run is measured on its own images: test, else validation, or only `split`. With `data`, on its
    test split, else its validation split, else all of it; if it holds images of the run, on those that did not train
    it (provenance.py). `moved` is where a run's own images are now. Without `held_out_only`, all of `data` is used
    as if the run had not seen it.

    Raises:
        UsageError: no `data`, and no run that says where its images are. DataError: the images cannot be used.

    """
    folder = Path(data_dir) if data_dir else None
    own_splits, overlap = None, Overlap()
    if data is None:
        data, own_splits, folder, overlap = _own_images(model, split, moved, folder)
    else:
        overlap = compare_with_training(model.path, model.manifest, data, data_dir, held_out_only=held_out_only)
    images, loader, notes = prepare_evaluation(
        data,
        model.manifest.preprocessing,
        model.manifest.classes,
        device=torch.device(model.device),
        recorded=own_splits or overlap.held_out,
        data_dir=folder,
        strict=strict,
        settings=overlap.reading,
    )
    notes += [overlap.note] if overlap.note else []
    outputs = collect_outputs(model, loader, f"asking {model.path.name or model.path}")
    if loader.bad:
        first = next(iter(loader.bad.values()))
        num = len(loader.bad)
        notes.append(f"{count(num, 'image')} cannot be read and {agree(num, 'does', 'do')} not count, e.g. {first}")
    return MeasuredModel(
        model,
        images,
        outputs,
        loader.bad,
        images.source if not is_place(data) else str(data),
        own_splits is not None or overlap.own,
        notes,
        loader,
        overlap.trained_on,
    )


def _own_images(
    model: OpenedModel, split: str | None, moved: Images | None, folder: Path | None
) -> tuple[Images, dict[str, str], Path | None, Overlap]:
    """A run's own held-out images.

    Where they are now, name -> split, their folder, and how to read them.
    """
    if not model.path.is_dir():
        raise UsageError(f"{model.path} does not say where its images are; add DATA, as in {model.path} DATA")
    run = open_run(model.path)
    recorded, reading = run.data, run.settings.data
    if folder is None and recorded["data_dir"]:
        folder = Path(recorded["data_dir"])
    sides = [split] if split else list(recorded["splits"])
    own_splits = {name: side for side in sides for name in recorded["splits"][side]}
    if not own_splits:
        raise UsageError(f"{model.path} has no {split} images; train with data.{split}_fraction above 0")
    return locate_data(recorded, moved, folder, reading), own_splits, folder, Overlap(reading=reading)


def collect_outputs(model: OpenedModel, loader: Loader, what: str = "asking the model") -> Outputs:
    """Every image's logits.

    The network itself computes them if there is one, in halves if memory is short.
    """
    if model.network is None:
        return collect_answers(model, loader, what)
    return collect_logits(model.network, loader, model.manifest.preprocessing, what=what)
