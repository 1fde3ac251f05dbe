"""Any model file by its path: which reader opens it, and which formats have to be vouched for.

Enters: a path. Leaves: `ModelFile`, or a `Classifier` for run folders too. Each reader is imported when it is needed,
so that .onnx and OpenVINO files need no torch. Called by `catseye.load`, cli, evaluation and exporting.
"""

from pathlib import Path

from catseye.classifier import Classifier
from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.runtimes.model_file import ModelFile
from catseye.runtimes.reopening import reopened_elsewhere

SUFFIXES = {
    ".onnx": "ONNX",
    ".xml": "OpenVINO",
    ".torchscript": "TorchScript",
    ".pt2": "torch.export or AOTInductor",
    ".engine": "TensorRT",
}


def is_model_file(path: str | Path) -> bool:
    """Whether the suffix is that of an exported file rather than of a run."""
    return Path(path).suffix.lower() in SUFFIXES


def open_model(
    path: str | Path, *, trust: bool = False, threads: int = 0, calls: int = 1, spin: bool = False
) -> ModelFile:
    """Open an exported file of any format.

    `threads` computes one call (0: one per core); `calls` says how many are made at the same time; with `spin`, ONNX
    Runtime's threads burn their core while they wait. `trust` is needed for the formats that are programs: TorchScript,
    .pt2 and TensorRT engines.

    Raises:
        ModelFileError: it is none, damaged, not made by catseye, or a program that nobody vouched for.
        MissingDependency: the format's runtime is not installed.

    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from catseye.runtimes.onnx import open_onnx

        return open_onnx(path, threads=threads, spin=spin)
    if suffix == ".xml":
        from catseye.runtimes.openvino import open_openvino

        return open_openvino(path, threads=threads, calls=calls)
    if suffix == ".engine":
        from catseye.runtimes.tensorrt import open_engine

        return open_engine(path, trust=trust)
    if suffix in (".torchscript", ".pt2"):
        try:
            from catseye.runtimes.torch import open_torch_file
        except ImportError as error:
            raise MissingDependency(error.name or "torch", "train") from None
        return open_torch_file(path, trust=trust, threads=threads)
    known = ", ".join(f"{name} ({what})" for name, what in SUFFIXES.items())
    raise ModelFileError(f"{path} has no suffix of a model file: {known}")


@reopened_elsewhere
def load(path: str | Path, *, device: str = "auto", trust: bool = False) -> Classifier:
    """Open a trained model: a run folder, a model.safetensors, or an exported file of any format.

    .onnx and OpenVINO files need no torch. TorchScript, .pt2 and TensorRT files are programs: they are opened only with
    `trust=True`, for files that you or somebody you trust made.

    Raises:
        ModelFileError: it is none of these, it is damaged, or it needs trust.

    """
    if is_model_file(path):
        wanted = ("auto", "cuda") if Path(path).suffix.lower() == ".engine" else ("auto", "cpu")
        if device not in wanted:
            raise UsageError(f"{path} runs on the {wanted[1].upper()} here; got device {device!r}; leave --device out")
        return open_model(path, trust=trust).classifier()
    try:
        from catseye.machine.devices import choose_device
        from catseye.runs import load_classifier
    except ImportError as error:
        raise MissingDependency(error.name or "torch", "train") from None
    return load_classifier(path, choose_device(device))
