"""Open any model by its path: the one way in, for every command.

Enters: a path. Leaves: `OpenedModel`. The row of the format in `formats.py` names its reader, which is imported only
when needed, so that .onnx and OpenVINO files need no torch. Called by `catseye.load`, cli and every room above this.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from catseye.classifier import Classifier
from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.files import StrPath, path_of
from catseye.runtimes.formats import ModelFormat, Need, format_of, require_layers
from catseye.runtimes.formats import is_model_file as is_model_file
from catseye.runtimes.model_file import OpenedModel, OpenSettings
from catseye.runtimes.reopening import reopened_elsewhere

ModelReader = Callable[[StrPath, OpenSettings], OpenedModel]


def open_model(
    model: StrPath,
    *,
    device: str = "auto",
    trust: bool = False,
    need: Need = "answers",
    threads: int = 0,
    calls: int = 1,
    spin: bool = False,
    runtime: str = "",
) -> OpenedModel:
    """Open a run folder, a model.safetensors, or an exported file of any format.

    `model` is a path, or an object that stands for its path.

    `device` computes the weights of a run. `trust` is needed for answers of the formats that are programs; with it, a
    file is opened at once, without a trial in a child process. `threads` compute each call (0: one per core); `calls`
    is the number of calls at the same time; with `spin`, ONNX Runtime's waiting threads keep their cores busy.
    `runtime` is one of the row's, or "auto" for the GPU if ONNX Runtime supports it; the default is the row's first.

    Raises:
        ModelFileError: not a model, damaged, not made by catseye, or a program opened without trust.
        MissingDependency: the format's runtime is not installed.
        UsageError: the format has no layers, or does not support that device or runtime.

    """
    path = path_of(model)
    trust = trust or bool(getattr(model, "trusted", False))  # a classifier that was loaded with trust
    if need == "layers":
        require_layers(path)
    row = format_of(path)
    if row.devices and device not in row.devices:
        raise UsageError(f"{path} runs on the {row.devices[1].upper()} here; got device {device!r}; leave --device out")
    if runtime not in ("", "auto", *row.runtimes):
        own = " or ".join(row.runtimes)
        raise UsageError(f"{path} runs in {own}, and --runtime chooses for .onnx files; got --runtime {runtime}")
    if row.vouched and not trust and need == "answers":
        raise ModelFileError(
            f"{row.vouched}, and opening it runs it; {path} was not opened. Add --trust (in Python trust=True) if you "
            f"or somebody you trust made it; .onnx and OpenVINO files need no trust"
        )
    wish = OpenSettings(device, trust, need, threads, calls, spin, runtime or row.runtimes[0])
    return _reader_of(row)(path, wish)


def open_for_serving(path: Path, wish: OpenSettings) -> OpenedModel:
    """Open a file that `open_model` has opened again, with other settings.

    Serving compares settings of a GPU with it.
    """
    return _reader_of(format_of(path))(path, wish)


@reopened_elsewhere
def load(path: StrPath, *, device: str = "auto", trust: bool = False) -> Classifier:
    """Open a trained model: a run, a model.safetensors, or an exported file.

    Instead of a path, pass what `train`, `open_run` or `export` returned.

    .onnx and OpenVINO files need no torch. TorchScript, .pt2 and TensorRT files are programs: they are opened only with
    `trust=True`, which is meant for files that you or somebody you trust made.

    Raises:
        ModelFileError: it is none of these, it is damaged, or it needs trust.

    """
    return open_model(path, device=device, trust=trust).classifier()


def _reader_of(row: ModelFormat) -> ModelReader:
    try:
        reader: ModelReader = getattr(import_module(row.module), row.reader.partition(":")[2])
    except ImportError as error:
        raise MissingDependency(error.name or row.title) from None
    return reader
