"""Settings: a recipe, the user's own TOML file and `--set key=value`, merged in that order and checked.

Enters: recipe name or file, overrides. Leaves: one frozen `Settings`. Called by cli and `catseye.train`.
An unknown key is answered with the nearest right one; an option that would do nothing is refused.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catseye.errors import UnknownName, UsageError

MAX_FILE_BYTES = 1_000_000


class Group(BaseModel):
    """One table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Group):
    """Which pictures, and how they become arrays."""

    resize: Literal["pad", "crop", "squash"] = "pad"
    input_px: Annotated[int, Field(ge=8, le=1024)] | Literal["auto"] = Field(
        default="auto", description="side of the square input"
    )
    channels: Literal["auto", 1, 3] = Field(default="auto", description="1 keeps greyscale as one channel")
    val_fraction: float = Field(default=0.1, ge=0, le=0.5, description="0: no validation, the last weights are kept")
    test_fraction: float = Field(default=0.2, ge=0, le=0.5, description="used where the data brings no test split")
    storage: Literal["auto", "memory", "stream"] = Field(default="auto", description="decode once, or once an epoch")
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        default="auto", description="loader processes when streaming"
    )
    strict: bool = Field(default=False, description="an unreadable picture is an error, not a warning")
    group_by: str = Field(
        default="", description="regular expression on file names; an equal first group stays on one side"
    )
    allow_leaks: bool = Field(default=False, description="report a score even where held-out pictures also trained")


class ModelSettings(Group):
    """Which network. Options that the named network does not have are refused."""

    name: str = "simple"
    dropout: float | None = Field(default=None, ge=0, lt=1)
    skip: bool | None = None
    stem: Literal["auto", "small", "standard"] | None = Field(
        default=None, description="entrance for pictures of 64 px and less, or the paper's; auto: by input size"
    )
    width: float | None = Field(
        default=None, ge=0.125, le=8, description="speednet, tower: factor of every block's channels"
    )
    depth: int | None = Field(default=None, ge=4, le=200, description="tower: layers with weights, an even number")
    norm: bool | None = Field(default=None, description="tower: batch normalisation after every convolution")
    auxiliary: bool | None = Field(default=None, description="the auxiliary heads of googlenet and inception_v3")


class TransferSettings(Group):
    """Published weights, and what becomes of them. `none` starts from fresh weights."""

    strategy: Literal["none", "auto", "feature-extraction", "fine-tune", "full", "scratch"] = "none"
    weights: str = Field(default="", description="a local file; empty: the published ones of the network")
    variants: int = Field(
        default=2, ge=1, le=100, description="feature-extraction: copies per picture, the first plain"
    )
    stages: int = Field(default=1, ge=1, le=100, description="fine-tune: how many of the last stages")
    backbone_lr: float = Field(default=1e-4, gt=0, le=1, description="peak rate of the last stage")
    layer_decay: float = Field(default=0.8, gt=0, le=1, description="factor of the rate per stage further down")
    gradual_epochs: int = Field(default=0, ge=0, description="epochs between unfreezing one stage and the next below")


class DistillationSettings(Group):
    """Learning from another run's answers as well as from the labels."""

    teacher: str = Field(default="", description="a run folder or model file with the same classes; empty: none")
    temperature: float = Field(default=4.0, gt=0, le=100)
    weight: float = Field(default=0.7, gt=0, le=1, description="share of the teacher in the loss")


class AugmentSettings(Group):
    """What happens to a training batch. Zero (the default) switches a transform off."""

    crop_scale: float = Field(default=1.0, gt=0, le=1, description="random resized crop: smallest share of the area")
    hflip: float = Field(default=0.0, ge=0, le=1, description="probability of a mirror image")
    rotate_deg: float = Field(default=0.0, ge=0, le=180, description="largest angle")
    hflip_alternate: bool = Field(
        default=False, description="mirror each picture in turn from epoch to epoch, not at random"
    )
    crop_padding_px: int = Field(default=0, ge=0, le=128, description="random crop after padding by this much")
    crop_padding: Literal["zero", "reflect"] = Field(default="zero", description="what the padding is filled with")
    brightness: float = Field(default=0.0, ge=0, le=1, description="factor from 1 - x to 1 + x")
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    noise_std: float = Field(default=0.0, ge=0, le=1, description="Gaussian noise, in units of the full range")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability of a blanked-out rectangle (cutout)")
    mixup_alpha: float = Field(default=0.0, ge=0, le=10)
    cutmix_alpha: float = Field(default=0.0, ge=0, le=10)


class TrainingSettings(Group):
    """How the weights are found."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, le=100, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    vector_lr: float = Field(
        default=0.4, gt=0, le=100, description="muon: peak rate of biases, norms and the last layer"
    )
    nesterov: bool = False
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="never on norms and biases")
    schedule: Literal["onecycle", "cosine", "linear", "step", "constant"] = "onecycle"
    warmup_epochs: float = Field(default=0.0, ge=0, description="cosine, linear: linear warm-up")
    step_epochs: int = Field(default=30, ge=1, description="step: epochs between two falls")
    step_gamma: float = Field(default=0.1, gt=0, lt=1, description="step: factor of each fall")
    cycle_momentum: bool = Field(default=False, description="onecycle: momentum falls 0.05 below and rises 0.05 above")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    clip_norm: float = Field(default=0.0, ge=0, description="largest gradient norm; 0: no clipping")
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="moving average of the weights; 0: off")
    accumulate_steps: int = Field(default=1, ge=1, le=1024, description="parts of a batch, one after the other")
    sync_batch_norm: bool = Field(default=False, description="statistics over the pictures of all processes")
    precision: Literal["auto", "fastest", "fp32", "bf16"] = Field(
        default="auto", description="auto: fp32 on CPUs; fastest: bf16 also on CPUs that compute in it"
    )
    small_px: int = Field(
        default=0, ge=0, le=1024, description="side of the input in the first part of the run; 0: off"
    )
    small_share: float = Field(default=0.4, gt=0, lt=1, description="length of that part, as a share of the steps")
    keep: Literal["best", "last"] = Field(default="best", description="which epoch's weights the run keeps")
    best_by: Literal["accuracy", "macro_f1", "loss"] = Field(default="accuracy", description="picks the checkpoint")
    patience: int = Field(default=0, ge=0, description="epochs without a better one before stopping; 0: never")
    checkpoint_s: float = Field(default=300.0, ge=0, description="longest time between two saves; an epoch ends in one")


class Settings(Group):
    """Everything that decides what a run computes; stored in the run folder as settings.toml."""

    recipe: str = ""
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    transfer: TransferSettings = TransferSettings()
    augment: AugmentSettings = AugmentSettings()
    training: TrainingSettings = TrainingSettings()
    distillation: DistillationSettings = DistillationSettings()


def load_settings(
    recipe: str = "quick",
    *,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Settings:
    """Merge recipe < config file < `values` < `--set` overrides and check the result.

    `values` and `overrides` are keyed by dotted names: `{"training.epochs": 5}`, `["training.epochs=5"]`.

    Raises:
        UsageError: a key is unknown, a value is out of range, or an option would do nothing.

    >>> load_settings("quick", overrides=["training.epochs=5"]).training.epochs
    5

    """
    base = _read_toml(find_recipe(recipe))
    base["recipe"] = recipe
    mine: dict[str, Any] = _read_toml(config) if config else {}
    for key, value in (values or {}).items():
        _put(mine, key, value)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise UsageError(f"--set wants KEY=VALUE; got {override!r}; for example --set training.epochs=5")
        _put(mine, key.strip(), _parse_value(text.strip()))
    if "name" in mine.get("model", {}) and mine["model"]["name"] != base.get("model", {}).get("name"):
        base["model"] = {}  # the recipe's options were meant for its own network
    _refuse_unknown(base, recipe)
    _refuse_unknown(mine, "--set" if not config else str(config))
    settings = _validate(_merge(base, mine))
    momentum = settings.training.momentum
    if settings.training.cycle_momentum and momentum and not 0.05 <= momentum < 0.95:
        raise UsageError(
            f"training.cycle_momentum swings by 0.05, so training.momentum is 0.05 to 0.95; got {momentum}"
        )
    # What the recipe set and the user's own choice made idle is dropped; what the user set himself is refused.
    for key, reason in inert_options(settings).items():
        if _get(mine, key) is not None:
            raise UsageError(f"{key} would do nothing here: {reason}; leave it out")
        if _get(base, key) is not None:
            _drop(base, key)
    return _validate(_merge(base, mine))


def inert_options(settings: Settings) -> dict[str, str]:
    """The options that the other settings make idle, with the reason."""
    idle: dict[str, str] = {}
    training = settings.training
    if training.optimizer == "muon":
        idle["training.nesterov"] = "training.optimizer is muon, which always looks ahead"
    elif training.optimizer != "sgd":
        for key in ("momentum", "nesterov", "cycle_momentum"):
            idle[f"training.{key}"] = f"training.optimizer is {training.optimizer}, which has none"
    elif training.momentum == 0:
        for key in ("nesterov", "cycle_momentum"):
            idle[f"training.{key}"] = "training.momentum is 0"
    if training.optimizer != "muon":
        idle["training.vector_lr"] = f"training.optimizer is {training.optimizer}, only muon has it"
    if not training.small_px:
        idle["training.small_share"] = "training.small_px is 0"
    if not settings.augment.hflip:
        idle["augment.hflip_alternate"] = "augment.hflip is 0"
    if not settings.augment.crop_padding_px:
        idle["augment.crop_padding"] = "augment.crop_padding_px is 0"
    if training.schedule != "onecycle":
        idle["training.cycle_momentum"] = f"training.schedule is {training.schedule}, only onecycle has it"
    if training.schedule not in ("cosine", "linear"):
        idle["training.warmup_epochs"] = f"training.schedule is {training.schedule}, which has none"
    if training.schedule != "step":
        for key in ("step_epochs", "step_gamma"):
            idle[f"training.{key}"] = f"training.schedule is {training.schedule}, only step has it"
    if training.keep == "last":
        for key in ("best_by", "patience"):
            idle[f"training.{key}"] = "training.keep is last, so no epoch is chosen"
    idle |= _idle_transfer(settings.transfer)
    if not settings.distillation.teacher:
        for key in ("temperature", "weight"):
            idle[f"distillation.{key}"] = "there is no distillation.teacher"
    if settings.data.storage == "memory":
        idle["data.workers"] = "data.storage is memory, so no worker processes are used"
    if settings.data.channels == 1:
        idle["augment.saturation"] = "data.channels is 1, grey has no saturation"
    return idle


def _idle_transfer(transfer: TransferSettings) -> dict[str, str]:
    uses = {
        "weights": {"auto", "feature-extraction", "fine-tune", "full"},
        "variants": {"auto", "feature-extraction"},
        "stages": {"fine-tune"},
        "backbone_lr": {"auto", "fine-tune", "full"},
        "layer_decay": {"auto", "fine-tune", "full"},
        "gradual_epochs": {"auto", "fine-tune", "full"},
    }
    return {
        f"transfer.{key}": f"transfer.strategy is {transfer.strategy}"
        for key, strategies in uses.items()
        if transfer.strategy not in strategies
    }


def recipe_names() -> list[str]:
    """The recipes that come with catseye."""
    folder = resources.files("catseye.training").joinpath("recipes")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def find_recipe(recipe: str) -> Path:
    """The file of a named recipe, or the file itself when a path ending in .toml is given."""
    if recipe.endswith(".toml"):
        return Path(recipe)
    if recipe not in recipe_names():
        raise UnknownName("recipe", recipe, recipe_names(), see="A path that ends in .toml works too.")
    return Path(str(resources.files("catseye.training").joinpath("recipes", f"{recipe}.toml")))


def to_toml(settings: Settings) -> str:
    """The settings as a TOML file that `--config` reads back."""
    tables = settings.model_dump(exclude_none=True)
    lines = [f"{key} = {_toml_value(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def read_settings(path: Path) -> Settings:
    """Settings as `to_toml` wrote them."""
    return _validate(_read_toml(path))


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:  # noqa: PTH202
            raise UsageError(f"a settings file has at most {MAX_FILE_BYTES:,} bytes; {path} is larger")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"settings file {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"settings file {path} is no valid TOML ({error})") from None


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _refuse_unknown(tables: Mapping[str, Any], where: str) -> None:
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    known = [name for name, kind in groups.items() if not _is_group(kind)]
    for name, kind in groups.items():
        if _is_group(kind):
            known += [f"{name}.{key}" for key in kind.model_fields]  # type: ignore[union-attr]
    for name, value in tables.items():
        keys = [f"{name}.{key}" for key in value] if isinstance(value, Mapping) else [name]
        for key in keys:
            if key not in known:
                raise UnknownName(f"setting in {where}:", key, known)


def _is_group(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Group)


def _validate(tables: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        # A union repeats the key with the name of each branch; the first two parts name the setting.
        key = ".".join(str(part) for part in first["loc"][:2])
        rule = first["msg"][0].lower() + first["msg"][1:]
        raise UsageError(f"{key}: {rule}; got {first['input']!r}") from None


def _put(tables: dict[str, Any], key: str, value: object) -> None:
    group, _, name = key.rpartition(".")
    if group:
        table = tables.setdefault(group, {})
        if not isinstance(table, dict):
            raise UsageError(f"{group} is a table, not a value; got {table!r}")
        table[name] = value
    else:
        tables[name] = value


def _get(tables: Mapping[str, Any], key: str) -> object:
    group, _, name = key.partition(".")
    return tables.get(group, {}).get(name)


def _drop(tables: dict[str, Any], key: str) -> None:
    group, _, name = key.partition(".")
    del tables[group][name]


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = {**base[key], **value} if both else value
    return merged
