"""What a caller asks of training, checked: the keyword arguments of `catseye.train`, `find_lr` and `run_timeline`.

Enters: keyword arguments. Leaves: one frozen `RunRequest`, and the `Settings` it asks for. Called by fit.py, lr_find.py
and timeline.py. What each option means is in the docstring of `catseye.train`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypedDict

from rich.console import Console

from catseye.errors import UnknownName, UsageError
from catseye.settings.merge import UNDECIDED, load_settings, own_settings
from catseye.settings.promise import promised_s, refuse_beside_time
from catseye.settings.schema import Settings

if TYPE_CHECKING:
    from catseye.training.progress import EpochProgress, ShowProgress


def _bar_of_a_terminal(console: Console, num_epochs: int, num_batches: int, done: int) -> "EpochProgress":
    from catseye.training.progress import EpochProgress  # torch; a request is judged before it is loaded

    return EpochProgress(console, num_epochs, num_batches, done)


class SharedOptions(TypedDict, total=False):
    """What everything that trains takes."""

    overrides: Sequence[str]
    seed: int | None
    device: str
    data_dir: str | Path | None
    console: Console | None


class LrFindOptions(SharedOptions, total=False):
    """What `find_lr` takes."""

    recipe: str | None
    model: str | None


class TimelineOptions(SharedOptions, total=False):
    """What `run_timeline` takes."""

    out: str | Path | None


class TrainOptions(SharedOptions, total=False):
    """What `catseye.train` takes."""

    recipe: str | None
    model: str | None
    epochs: int | None
    time: str | float | None
    config: str | Path | None
    settings: Mapping[str, object] | None
    out: str | Path | None
    resume: str | Path | None
    pretrained: bool
    tensorboard: bool
    progress: "ShowProgress"
    begun_s: float


@dataclass(frozen=True)
class RunRequest:
    """One request to train, with the defaults of what was not said."""

    data: str | Path | None
    recipe: str | None = None
    model: str | None = None
    epochs: int | None = None
    time: str | float | None = None
    seed: int | None = None
    config: str | Path | None = None
    settings: Mapping[str, object] | None = None
    overrides: Sequence[str] = ()
    out: str | Path | None = None
    resume: str | Path | None = None
    pretrained: bool = False
    device: str = "auto"
    data_dir: str | Path | None = None
    tensorboard: bool = False
    console: Console | None = None
    progress: "ShowProgress" = field(default=_bar_of_a_terminal)
    begun_s: float = field(default_factory=monotonic)

    @property
    def images_dir(self) -> Path | None:
        """The folder of `data_dir`."""
        return Path(self.data_dir) if self.data_dir else None


def make_request(data: str | Path | None, options: Mapping[str, Any], kind: type[Any]) -> RunRequest:
    """The request that keyword arguments make; `kind` is the TypedDict of those that are known.

    Raises:
        UnknownName: one is not known.

    """
    known: frozenset[str] = kind.__optional_keys__
    for name in options:
        if name not in known:
            raise UnknownName("option", name, known)
    request = RunRequest(data, **options)
    if request.time is not None:
        named = {name: getattr(request, name) for name in ("epochs", "resume", "tensorboard", "recipe")}
        refuse_beside_time(named, asked_for(request))
    return request


def requested_settings(
    request: RunRequest,
    fixed: Mapping[str, object] | None = None,
    *,
    recipe: str | None = None,
    decided: Mapping[str, object] | None = None,
) -> Settings:
    """The settings a request asks for: its recipe, its settings file, its values; `fixed` is the verb's own choice.

    Where the recipe was `auto`, `recipe` and what was `decided` for the images stand in its place.

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


def asked_for(request: RunRequest) -> dict[str, Any]:
    """What the caller set, without any recipe, as nested tables."""
    config = Path(request.config) if request.config else None
    return own_settings(config=config, overrides=request.overrides, values=_named_values(request))


def _recipe(request: RunRequest) -> str:
    """The named recipe; `transfer` where published weights are asked for in any way; else `auto`."""
    if request.recipe:
        return request.recipe
    strategy = asked_for(request).get("transfer", {}).get("strategy", "none")
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
    """A resumed run keeps its own settings; `data` may say where its images are now.

    Raises:
        UsageError: the request names others.

    """
    for name in ("out", "model", "epochs", "seed", "config", "recipe", "pretrained"):
        if getattr(request, name) not in (None, False):
            raise UsageError(f"--{name} would do nothing with --resume: the run keeps its own; leave it out")
    for key in [*(request.settings or {}), *request.overrides]:
        raise UsageError(f"--set {key} would do nothing with --resume: the run keeps its own; leave it out")
