"""A trained model and labelled images in, logits and everything that judges them out.

Called by `evaluate.py`, `calibrate.py`, `compare.py` and `corruptions.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from catseye.data.loaders import MemoryLoader, StreamLoader
from catseye.data.prepare import prepare_evaluation
from catseye.data.sources import ImageSet
from catseye.errors import ModelFileError, UsageError
from catseye.evaluation.predict import Outputs, collect_answers, collect_logits
from catseye.machine.devices import choose_device
from catseye.manifest import Manifest
from catseye.runs import load_model, open_run
from catseye.runtimes.loading import is_model_file, load
from catseye.settings.schema import DataSettings


@dataclass(frozen=True)
class Model:
    """An opened run folder, model.safetensors or exported file; `network` is None for the last."""

    path: Path
    manifest: Manifest
    device: torch.device
    network: nn.Module | None
    collect: Callable[..., Outputs] = field(repr=False)


@dataclass(frozen=True)
class MeasuredModel:
    """The answers of a model to images, with the sentences that belong to them. `own`: the run's own images."""

    model: Model
    images: ImageSet
    outputs: Outputs
    bad: dict[int, str]
    source: str
    own: bool
    notes: list[str]
    loader: MemoryLoader | StreamLoader = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The images' names, row by row of the outputs."""
        return [self.images.names[index] for index in self.outputs.indices.tolist()]


def open_measured(path: str | Path, device: str = "auto", *, trust: bool = False) -> Model:
    """A model that `measure` can ask; `trust` as in `catseye.load`.

    Raises:
        ModelFileError: it does not exist or cannot be used.

    """
    path = Path(path)
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; give a run folder, a model.safetensors or an exported file")
    if is_model_file(path):
        exported = load(path, device=device, trust=trust)
        return Model(path, exported.manifest, choose_device("cpu"), None, partial(collect_answers, exported))
    where = choose_device(device)
    network, manifest = load_model(path, where)
    return Model(path, manifest, where, network, partial(collect_logits, network, spec=manifest.preprocessing))


def measure(
    model: Model,
    data: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    strict: bool = False,
    split: str | None = None,
) -> MeasuredModel:
    """One pass over held-out images.

    Without `data`, a run is asked about its own: test, else validation, or `split` alone. With `data`, about the test
    split of that, else its validation split, else all of it.

    Raises:
        UsageError: no `data`, and no run that says where its images are. DataError: the images cannot be used.

    """
    chosen = None
    if data is None:
        if not model.path.is_dir():
            raise UsageError(f"{model.path} does not say where its images are; add DATA, as in {model.path} DATA")
        recorded = open_run(model.path).data
        data = recorded["source"]
        sides = [split] if split else list(recorded["splits"])
        chosen = {name: side for side in sides for name in recorded["splits"][side]}
        data_dir = data_dir or recorded["data_dir"]
        if not chosen:
            raise UsageError(f"{model.path} has no {split} images; train with data.{split}_fraction above 0")
    images, loader, notes = prepare_evaluation(
        data,
        model.manifest.preprocessing,
        model.manifest.classes,
        device=model.device,
        chosen=chosen,
        data_dir=Path(data_dir) if data_dir else None,
        strict=strict,
        settings=_reading_of_run(model.path, data),
    )
    outputs = model.collect(loader=loader)
    if loader.bad:
        first = next(iter(loader.bad.values()))
        notes.append(f"{len(loader.bad)} images cannot be read and do not count, e.g. {first}")
    return MeasuredModel(model, images, outputs, loader.bad, str(data), chosen is not None, notes, loader)


def _reading_of_run(path: Path, data: str | Path) -> DataSettings | None:
    """How a run read its DATA, for the same DATA; other DATA is read afresh."""
    if not path.is_dir():
        return None
    run = open_run(path)
    same = Path(run.data["source"]).absolute() == Path(data).absolute()
    return run.settings.data if same else None
