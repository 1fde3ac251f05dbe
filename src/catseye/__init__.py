"""catseye: labelled pictures in, an image classifier in production out.

    import catseye
    trained = catseye.train("photos/", epochs=20)
    print(catseye.evaluate(trained.path).metrics.accuracy)
    print(catseye.load(trained.path).predict("cat.jpg").label)

The names below are loaded when they are first used, so that `import catseye` costs nothing and
needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from catseye.classifier import Classifier
    from catseye.classifier import Prediction as Prediction
    from catseye.errors import CatseyeError as CatseyeError
    from catseye.evaluation.evaluate import evaluate as evaluate
    from catseye.preprocess import preprocess as preprocess
    from catseye.training.fit import train as train

__version__ = "0.1.0"

_HOMES = {
    "CatseyeError": "catseye.errors",
    "Classifier": "catseye.classifier",
    "Prediction": "catseye.classifier",
    "evaluate": "catseye.evaluation.evaluate",
    "preprocess": "catseye.preprocess",
    "train": "catseye.training.fit",
}
__all__ = ["CatseyeError", "Classifier", "Prediction", "evaluate", "load", "preprocess", "train"]


def load(path: "str | Path", *, device: str = "auto") -> "Classifier":
    """Open a trained model: a run folder, a model.safetensors, or an exported .onnx file, which needs no torch.

    Raises:
        ModelFileError: it is none of these, or it is damaged.

    """
    if str(path).lower().endswith(".onnx"):
        from catseye.onnx_runtime import load_onnx

        return load_onnx(path, device=device)
    try:
        from catseye.devices import choose_device
        from catseye.runs import load_classifier
    except ImportError as error:
        from catseye.errors import MissingDependency

        raise MissingDependency(error.name or "torch", "train") from None
    return load_classifier(path, choose_device(device))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"catseye has no {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
