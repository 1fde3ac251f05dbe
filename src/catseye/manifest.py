"""The manifest inside every model file: all that is needed to use the model.

Enters: classes, preprocessing, temperature, the thresholds below which the answer is "unknown", the network and its
provenance. Leaves: the same, in files of every format. Written by runs and exporting, read by everything after them.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from catseye.errors import ModelFileError
from catseye.preprocess import Preprocessing

METADATA_KEY = "catseye"  # the one metadata entry in safetensors, ONNX, TorchScript and torch.export files
MAX_MANIFEST_BYTES = 8_000_000
MAX_EXAMPLE_BYTES, MAX_EXAMPLES = 10_000, 24


class Architecture(BaseModel):
    """The name and options that rebuild the network: `models.create(**architecture)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)


class _Renamed(BaseModel):
    """A table that older files wrote with "pictures" in place of "images"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _todays_names(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {str(name).replace("pictures", "images"): value for name, value in content.items()}


class Provenance(BaseModel):
    """Where the model came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: str = ""
    catseye: str = ""
    torch: str = ""
    data_name: str = ""
    data_sha256: str = ""
    settings_sha256: str = ""
    seed: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("metrics")
    @classmethod
    def _todays_names(cls, metrics: dict[str, float]) -> dict[str, float]:
        return {name.replace("pictures", "images"): value for name, value in metrics.items()}

    def metric_texts(self) -> list[tuple[str, str]]:
        """Each metric's name and value as text.

        Shares are in percent, counts are whole numbers.

        >>> Provenance(metrics={"test_accuracy": 0.975, "test_num_images": 1359.0}).metric_texts()
        [('test accuracy', '97.50%'), ('test images', '1,359')]

        """
        return [
            (name.replace("num_", "").replace("_", " "), f"{value:,.0f}" if "num_" in name else f"{value:.2%}")
            for name, value in self.metrics.items()
        ]


class Parity(_Renamed):
    """The comparison of an exported file with its run, on the same images.

    The comparison covers everything from file bytes to probabilities. Differences are of probabilities, over all
    images, classes and batch sizes. Accuracies are shares, 0 to 1; the interval is that of run minus file on the same
    images.
    """

    split: str
    num_images: int
    batch_sizes: tuple[int, ...]
    max_difference: float
    mean_difference: float
    agreement: float
    run_accuracy: float
    file_accuracy: float
    run_macro_f1: float
    file_macro_f1: float
    runtime: str
    accuracy_drop_95_interval: tuple[float, float] | None = None
    familiarity_difference: float | None = None
    heat_map_difference: float | None = None


class Quantisation(_Renamed):
    """How an INT8 file was made.

    The quantiser, what chose the ranges, and which layers measurements kept in float.
    """

    tool: str
    calibration: str
    num_calibration_images: int
    selection_split: str
    num_selection_images: int
    measured: dict[str, float] = Field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    max_drop: float


class ExampleImage(BaseModel):
    """An image of a class to try the model with.

    Only files exported with --examples have some.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    label: str
    media_type: Literal["image/png", "image/jpeg"]
    image: bytes = Field(max_length=MAX_EXAMPLE_BYTES, repr=False)


class Manifest(BaseModel):
    """Everything a model file states about itself.

    `input_kind` is what the graph of an exported file takes: uint8 (N, H, W, C), or normalised float
    (N, C, H, W). It and `parity` are None in a run's own weights, which have no graph. `outputs` names what a graph
    returns, in formats whose files do not say so. `quantisation` is set only in INT8 files. An image is "unknown" if
    its largest probability is below `unknown_threshold`, or its familiarity below `familiarity_threshold`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    classes: tuple[str, ...] = Field(min_length=1, max_length=100_000)
    preprocessing: Preprocessing
    architecture: Architecture
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    unknown_threshold: float | None = Field(default=None, ge=0, le=1)
    familiarity_threshold: float | None = Field(default=None, ge=-1, le=1)
    provenance: Provenance = Provenance()
    input_kind: Literal["uint8", "float"] | None = None
    outputs: tuple[str, ...] = ()
    quantisation: Quantisation | None = None
    parity: Parity | None = None
    examples: tuple[ExampleImage, ...] = Field(default=(), max_length=MAX_EXAMPLES)

    @field_validator("classes")
    @classmethod
    def _unique(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("class names must differ from each other")
        return classes

    def are_unknown(
        self, probabilities: NDArray[np.floating], familiarity: NDArray[np.floating] | None = None
    ) -> NDArray[np.bool_]:
        """Which images get the answer "unknown".

        Shape: (N, K), (N,) -> (N,).
        """
        unknown = np.zeros(len(probabilities), bool)
        if self.unknown_threshold is not None:
            unknown |= probabilities.max(1).astype(np.float64) < self.unknown_threshold
        if self.familiarity_threshold is not None and familiarity is not None:
            unknown |= familiarity.astype(np.float64) < self.familiarity_threshold
        return unknown

    def to_json(self) -> str:
        """The text that is stored in the model file."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes | None, source: str) -> "Manifest":
        """Read what `to_json` wrote.

        Raises:
            ModelFileError: there is none, it is too large or a field is wrong; the message names `source`.

        """
        if not text:
            raise ModelFileError(f"{source} carries no catseye manifest; export it with `catseye export RUN`")
        if len(text) > MAX_MANIFEST_BYTES:
            raise ModelFileError(f"{source}: a manifest has at most {MAX_MANIFEST_BYTES:,} bytes; got {len(text):,}")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ModelFileError(f"{source}: its manifest is wrong at {field or 'the top'} ({first['msg']})") from None
