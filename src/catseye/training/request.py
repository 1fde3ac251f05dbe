"""A request to train: the checked arguments of `train`, `lr_find`, `timeline`.

Enters: keyword arguments. Leaves: one frozen `RunRequest`, and the `Settings` it asks for. Called by train.py,
lr_find.py and timeline.py. What each option means is in the docstring of `catseye.train`.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypedDict

from rich.console import Console

from catseye.data.sources import Images
from catseye.errors import MissingDependency, UsageError, refuse_unknown_options
from catseye.files import StrPath, path_of
from catseye.notebook import in_notebook
from catseye.settings.merge import UNDECIDED, load_settings, own_settings
from catseye.settings.promise import promised_s, refuse_beside_time
from catseye.settings.reading import ReadingOptions, reading_values
from catseye.settings.schema import Settings
from catseye.settings.typed import parse_track
from catseye.training.own_code import OnEpoch, OwnAugment, OwnCode, OwnLoss

if TYPE_CHECKING:
    from catseye.training.progress import EpochProgress, ShowProgress


def _bar_of_a_terminal(console: Console, num_epochs: int, num_batches: int, done: int) -> "EpochProgress":
    from catseye.training.progress import EpochProgress  # torch; a request is checked before it is loaded

    return EpochProgress(console, num_epochs, num_batches, done)


def _bar_of_a_notebook(console: Console, num_epochs: int, num_batches: int, done: int) -> "EpochProgress":
    from catseye.training.notebook_progress import NotebookProgress

    return NotebookProgress(console, num_epochs, num_batches, done)


class SharedOptions(TypedDict, total=False):
    """The options of everything that trains."""

    overrides: Sequence[str]
    set: Mapping[str, object] | Sequence[str]
    seed: int | None
    device: str
    data_dir: StrPath | None
    console: Console | None


class LrFindOptions(SharedOptions, total=False):
    """The options of `lr_find`."""

    recipe: str | None
    model: Any


class TimelineOptions(SharedOptions, total=False):
    """The options of `run_timeline`."""

    out: StrPath | None


class TrainOptions(SharedOptions, ReadingOptions, total=False):
    """The options of `catseye.train`."""

    recipe: str | None
    model: Any
    epochs: int | None
    time: str | float | None
    config: StrPath | None
    settings: Mapping[str, object] | None
    no_skip: bool
    strict: bool
    strategy: str | None
    weights: StrPath | None
    teacher: StrPath | None
    corrections: StrPath | None
    out: StrPath | None
    resume: StrPath | None
    pretrained: bool
    track: str | Sequence[str]
    tensorboard: bool
    nproc: int
    max_restarts: int
    augment: OwnAugment | None
    loss: OwnLoss | None
    on_epoch: OnEpoch | None
    progress: "ShowProgress | None"
    begun_s: float


@dataclass(frozen=True)
class RunRequest:
    """One request to train, with defaults filled in."""

    data: Images | None
    recipe: str | None = None
    model: str | None = None
    epochs: int | None = None
    time: str | float | None = None
    seed: int | None = None
    config: StrPath | None = None
    settings: Mapping[str, object] | None = None
    overrides: Sequence[str] = ()
    out: StrPath | None = None
    resume: StrPath | None = None
    pretrained: bool = False
    device: str = "auto"
    data_dir: StrPath | None = None
    track: str | Sequence[str] = ()
    tensorboard: bool = False
    console: Console | None = None
    progress: "ShowProgress" = field(default=_bar_of_a_terminal)
    begun_s: float = field(default_factory=monotonic)
    own: OwnCode = field(default_factory=OwnCode)

    @property
    def trackers(self) -> list[str]:
        """The trackers to report to."""
        named = [self.track] if isinstance(self.track, str) else list(self.track or ())
        return [*named, *(["tensorboard"] if self.tensorboard else [])]

    @property
    def images_dir(self) -> Path | None:
        """The folder of `data_dir`."""
        return Path(self.data_dir) if self.data_dir else None


_FIELDS = frozenset(each.name for each in fields(RunRequest)) - {"data", "own", "model"}


def make_request(data: Images | None, options: Mapping[str, Any], kind: type[Any]) -> RunRequest:
    """The request of keyword arguments; `kind` is the TypedDict of known ones.

    Raises:
        UnknownName: one is not known. UsageError: a value is out of range.

    """
    refuse_unknown_options(options, kind)
    values = {name: value for name, value in options.items() if name in _FIELDS}
    settings = {**(options.get("settings") or {}), **_settings_of(options)}
    overrides = options.get("set") or ()
    if isinstance(overrides, Mapping):
        settings |= overrides
        overrides = ()
    values["overrides"] = [*options.get("overrides", ()), *overrides]
    values["settings"] = settings or None
    if options.get("strategy") or options.get("weights"):
        values["pretrained"] = True
    if "progress" in options:
        values["progress"] = options["progress"] or _bar_of_a_terminal
        if options["progress"] is None:
            values["console"] = Console(quiet=True, file=io.StringIO())
    elif in_notebook() and "console" not in options:
        values["progress"] = _bar_of_a_notebook
    own = OwnCode(options.get("augment"), options.get("loss"), options.get("on_epoch"))
    if (model := options.get("model")) is not None and not isinstance(model, str):
        from catseye.models.custom import name_of_module  # imports torch, which a caller with a network has

        own = replace(own, model=model)  # kept, so that its name resolves while the run is in use
        model = name_of_module(model)
    request = RunRequest(data, **values, model=model, own=own)
    for text in request.trackers:
        if find_spec(package := parse_track(text)[0]) is None:
            raise MissingDependency(package)
    if request.time is not None:
        named = {name: getattr(request, name) for name in ("epochs", "resume", "track", "tensorboard", "recipe")}
        refuse_beside_time(named, requested_values(request))
    return request


def _settings_of(options: Mapping[str, Any]) -> dict[str, object]:
    """The settings of options that have other names."""
    settings: dict[str, object] = {**reading_values(options)}
    if options.get("no_skip"):
        settings["model.skip"] = False
    if options.get("strict"):
        settings["data.strict"] = True
    if options.get("corrections"):
        settings["data.corrections"] = str(path_of(options["corrections"]).absolute())
    for option, key in (
        ("strategy", "transfer.strategy"),
        ("weights", "transfer.weights"),
        ("teacher", "distillation.teacher"),
    ):
        if options.get(option):
            settings[key] = str(path_of(options[option])) if option != "strategy" else options[option]
    return settings


def requested_settings(
    request: RunRequest,
    fixed: Mapping[str, object] | None = None,
    *,
    recipe: str | None = None,
    decided: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of a request: its recipe, its settings file, its values.

    `fixed` are those of the command.

    If the recipe was `auto`, `recipe` and the settings `decided` for the images replace it.

    Raises:
        UsageError: a key is unknown, a value is out of range, or an option would do nothing.

    """
    values = {**_named_values(request), **(fixed or {})}
    return load_settings(
        recipe or _recipe(request),
        config=Path(request.config) if request.config else None,
        overrides=request.overrides,
        values=values,
        decided=decided,
    )


def requested_values(request: RunRequest) -> dict[str, Any]:
    """What the caller set, without any recipe, as nested tables."""
    config = Path(request.config) if request.config else None
    return own_settings(config=config, overrides=request.overrides, values=_named_values(request))


def _recipe(request: RunRequest) -> str:
    """The named recipe; else `transfer` for published weights; else `auto`."""
    if request.recipe:
        return request.recipe
    strategy = requested_values(request).get("transfer", {}).get("strategy", "none")
    return UNDECIDED if strategy == "none" else "transfer"


def _named_values(request: RunRequest) -> dict[str, object]:
    values = dict(request.settings or {})
    for key, value in (("model.name", request.model), ("training.epochs", request.epochs), ("seed", request.seed)):
        if value is not None:
            values[key] = value
    if request.time is not None:
        values["training.time_s"] = promised_s(request.time)
    promised = bool(values.get("training.time_s"))
    if request.pretrained and not (request.settings or {}).get("transfer.strategy"):
        values.setdefault("transfer.strategy", "trials" if promised else "auto")
    if promised and values.get("transfer.strategy") == "auto":
        values["transfer.strategy"] = "trials"
    return values


def refuse_with_resume(request: RunRequest) -> None:
    """A resumed run keeps its own settings; `data` may be where its images are now.

    Raises:
        UsageError: the request names others.

    """
    for name in ("out", "model", "epochs", "seed", "config", "recipe", "pretrained"):
        if getattr(request, name) not in (None, False):
            raise UsageError(f"--{name} would do nothing with --resume: the run keeps its own; leave it out")
    for key in [*(request.settings or {}), *request.overrides]:
        raise UsageError(f"--set {key} would do nothing with --resume: the run keeps its own; leave it out")
