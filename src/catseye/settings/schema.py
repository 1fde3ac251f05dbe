"""Settings: everything that decides what a run computes, as typed tables.

Enters: values that `merge.py` has merged. Leaves: one frozen `Settings`. Only this file defines ranges and meanings,
and which options make others have no effect.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Side = Annotated[int, Field(ge=8, le=1024)]


class SettingsTable(BaseModel):
    """One table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(SettingsTable):
    """Which images, and how they become arrays."""

    resize: Literal["pad", "crop", "squash"] = Field(
        default="pad", description="how an image becomes square: padded with bars, cropped to its middle, or stretched"
    )
    input_px: Side | tuple[Side, Side] | Literal["auto"] = Field(
        default="auto", description="side of the square input, or [height, width]"
    )
    channels: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default="auto", description="1 keeps greyscale as one channel; more than 3: TIFF and .npy of so many channels"
    )
    black: FiniteFloat | Literal["auto"] = Field(
        default="auto", description="value that becomes black in images of more than 8 bits"
    )
    white: FiniteFloat | Literal["auto"] = Field(
        default="auto",
        description="value that becomes white in them, 4095 for 12 bits; auto: from the training images",
    )
    val_fraction: float = Field(default=0.1, ge=0, le=0.5, description="0: no validation, the last weights are kept")
    test_fraction: float = Field(default=0.2, ge=0, le=0.5, description="used where the data has no test split")
    storage: Literal["auto", "memory", "stream"] = Field(
        default="auto", description="memory: decode once; stream: in every epoch"
    )
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        default="auto", description="loader processes when streaming"
    )
    strict: bool = Field(default=False, description="an unreadable image is an error, not a warning")
    group_by: str = Field(
        default="", description="regular expression on file names; files with an equal first group stay in one split"
    )
    near_copies: Literal["together", "ignore"] = Field(
        default="together", description="near copies of an image stay in one split, where catseye makes the split"
    )
    layout: Literal["auto", "splits", "classes", "names"] = Field(
        default="auto",
        description="what the folders of DATA are; auto: from their names, an error if unclear; names: the class is in "
        "the name of each file (cat.0.jpg)",
    )
    image_column: str = Field(default="", description="column of a list that names the files; empty: guessed")
    label_column: str = Field(default="", description="column of a list that names the class; empty: guessed")
    split_column: str = Field(
        default="", description="column with train, val, test; empty: guessed; none: there is none"
    )
    group_column: str = Field(
        default="", description="column whose equal values stay in one split; empty: guessed; none: there is none"
    )
    corrections: str = Field(default="", description="file of decisions about labels, from catseye review; applied")
    allow_leaks: bool = Field(default=False, description="report a score even where held-out images also trained")


class ModelSettings(SettingsTable):
    """Which network. Options that the named network does not have are refused."""

    name: str = Field(default="simple", description="a name of `catseye models`, or timm:NAME")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="share of a head's inputs dropped in training")
    skip: bool | None = Field(default=None, description="residual, tower: false leaves the skips out")
    stem: Literal["auto", "small", "standard"] | None = Field(
        default=None, description="first layers: for images of 64 px and less, or as in the paper; auto: by input size"
    )
    width: float | None = Field(
        default=None, ge=0.125, le=8, description="speednet, tower: factor of every block's channels"
    )
    depth: int | None = Field(
        default=None,
        ge=2,
        le=200,
        description="tower: layers with weights, an even number from 4; speednet: convolutions per block, 2 or 3",
    )
    norm: bool | None = Field(default=None, description="tower: batch normalisation after every convolution")
    last: str | None = Field(default=None, description="a network of your own: its linear layer that gives the logits")
    auxiliary: bool | None = Field(default=None, description="the auxiliary heads of googlenet and inception_v3")


class TransferSettings(SettingsTable):
    """Published weights, and how they are trained. `none` starts from fresh weights."""

    strategy: Literal["none", "auto", "trials", "feature-extraction", "fine-tune", "full", "scratch"] = Field(
        default="none",
        description="none: fresh weights; auto: chosen from the data; trials: by trial; others: what is trained",
    )
    weights: str = Field(default="", description="a local file; empty: the published ones of the network")
    variants: int = Field(default=2, ge=1, le=100, description="feature-extraction: copies per image, the first plain")
    stages: int = Field(default=1, ge=1, le=100, description="fine-tune: how many of the last stages are trained")
    backbone_lr: float = Field(default=1e-4, gt=0, le=1, description="peak rate of the last stage")
    layer_decay: float = Field(
        default=0.8, gt=0, le=1, description="factor of the learning rate, per stage towards the input"
    )
    gradual_epochs: int = Field(default=0, ge=0, description="epochs between unfreezing one stage and the next below")


class DistillationSettings(SettingsTable):
    """Learning from another run's answers as well as from the labels."""

    teacher: str = Field(default="", description="a run folder or model file with the same classes; empty: none")
    temperature: float = Field(default=4.0, gt=0, le=100, description="softens the teacher's answers")
    weight: float = Field(default=0.7, gt=0, le=1, description="share of the teacher in the loss")


class AugmentSettings(SettingsTable):
    """What happens to a training batch. Zero (the default) switches a transform off."""

    crop_scale: float = Field(default=1.0, gt=0, le=1, description="random resized crop: smallest share of the area")
    hflip: float = Field(default=0.0, ge=0, le=1, description="probability of a mirror image")
    rotate_deg: float = Field(default=0.0, ge=0, le=180, description="largest angle")
    hflip_alternate: bool = Field(
        default=False, description="mirror each image in turn from epoch to epoch, not at random"
    )
    crop_padding_px: int = Field(default=0, ge=0, le=128, description="random crop after padding by this much")
    crop_padding: Literal["zero", "reflect"] = Field(default="zero", description="what the padding is filled with")
    brightness: float = Field(default=0.0, ge=0, le=1, description="factor from 1 - x to 1 + x")
    contrast: float = Field(default=0.0, ge=0, le=1, description="factor from 1 - x to 1 + x")
    saturation: float = Field(default=0.0, ge=0, le=1, description="factor from 1 - x to 1 + x")
    noise_std: float = Field(default=0.0, ge=0, le=1, description="Gaussian noise, in units of the full range")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability of a blanked-out rectangle (cutout)")
    mixup_alpha: float = Field(default=0.0, ge=0, le=10, description="blends pairs of images; larger: more evenly")
    cutmix_alpha: float = Field(
        default=0.0, ge=0, le=10, description="pastes a rectangle of another image; larger: more evenly"
    )


class TrainingSettings(SettingsTable):
    """How the weights are found."""

    epochs: int = Field(default=10, ge=1, le=100_000, description="passes over the training images")
    time_s: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="the whole command ends within this time, using trials; 0: no limit",
    )
    batch_size: int = Field(default=128, ge=1, le=65_536, description="images per update, over all processes")
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = Field(
        default="adamw", description="how a gradient becomes an update"
    )
    lr: float = Field(default=1e-3, gt=0, le=100, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd, muon: share of the last update that is kept")
    vector_lr: float = Field(
        default=0.4, gt=0, le=100, description="muon: peak rate of biases, norms and the last layer"
    )
    nesterov: bool = Field(default=False, description="sgd: Nesterov momentum")
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="never on norms and biases")
    schedule: Literal["onecycle", "cosine", "linear", "step", "constant"] = Field(
        default="onecycle", description="the learning rate over the run"
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="cosine, linear: linear warm-up")
    step_epochs: int = Field(default=30, ge=1, description="step: epochs between two drops")
    step_gamma: float = Field(default=0.1, gt=0, lt=1, description="step: factor of each drop")
    cycle_momentum: bool = Field(default=False, description="onecycle: momentum moves 0.05 below and above its value")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: each class weighs the same, however many images it has"
    )
    clip_norm: float = Field(default=0.0, ge=0, description="largest gradient norm; 0: no clipping")
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="moving average of the weights; 0: off")
    accumulate_steps: int = Field(
        default=1, ge=1, le=1024, description="a batch is computed in this many parts, one after the other"
    )
    memory_gb: float = Field(
        default=2.0, ge=1, le=10_000, description="on a CPU, memory beside the decoded images; a batch is cut to fit"
    )
    sync_batch_norm: bool = Field(default=False, description="batch-norm statistics over the images of all processes")
    precision: Literal["auto", "fastest", "fp32", "bf16"] = Field(
        default="auto", description="auto: fp32 on CPUs; fastest: bf16 also on CPUs that support it"
    )
    capture: bool = Field(
        default=True, description="on CUDA: run the whole step as one CUDA graph, where it can be captured"
    )
    compile: bool = Field(default=False, description="torch.compile: a minute of compiling, then faster steps on a GPU")
    small_px: int = Field(
        default=0, ge=0, le=1024, description="side of the input in the first part of the run; 0: off"
    )
    small_share: float = Field(default=0.4, gt=0, lt=1, description="length of that part, as a share of the steps")
    keep: Literal["best", "last"] = Field(default="best", description="which epoch's weights the run keeps")
    best_by: Literal["accuracy", "macro_f1", "loss"] = Field(default="accuracy", description="picks the checkpoint")
    patience: int = Field(default=0, ge=0, description="stop after this many epochs without improvement; 0: never")
    checkpoint_s: float = Field(
        default=300.0, ge=0, description="longest time between two checkpoints; every epoch ends with one"
    )


class Settings(SettingsTable):
    """Everything that decides what a run computes.

    Stored in the run folder as settings.toml.
    """

    recipe: str = ""
    seed: int = Field(default=0, ge=0, lt=2**31, description="split, weights, order, augmentation")
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    transfer: TransferSettings = TransferSettings()
    augment: AugmentSettings = AugmentSettings()
    training: TrainingSettings = TrainingSettings()
    distillation: DistillationSettings = DistillationSettings()


def inert_options(settings: Settings) -> dict[str, str]:
    """The options that have no effect with the other settings, and the reason."""
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
    elif settings.data.channels not in ("auto", 3):
        idle["augment.saturation"] = f"data.channels is {settings.data.channels}, and only colour has saturation"
    return idle


def _idle_transfer(transfer: TransferSettings) -> dict[str, str]:
    uses = {
        "weights": {"auto", "trials", "feature-extraction", "fine-tune", "full"},
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
