"""catseye: labelled images in, an image classifier in production out.

    import catseye
    trained = catseye.train("photos/", epochs=20)
    print(catseye.evaluate(trained.path).metrics.accuracy)
    print(catseye.load(trained.path).predict("cat.jpg").label)
    print(catseye.export(trained.path).path)

The names below are loaded when they are first used, so that `import catseye` costs nothing and
needs no torch.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catseye.classifier import Classifier as Classifier
    from catseye.classifier import Prediction as Prediction
    from catseye.errors import CatseyeError as CatseyeError
    from catseye.evaluation.evaluate import evaluate as evaluate
    from catseye.exporting.export import export as export
    from catseye.preprocess import preprocess as preprocess
    from catseye.runtimes.loading import load as load
    from catseye.training.fit import train as train

# ONNX Runtime's official builds (1.32, on Linux too) send usage data to Microsoft and keep an identifier in the user's
# cache folder; this, said before it is loaded, is its own switch (its Privacy.md). Whoever wants it says 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# OpenVINO's Python package and NNCF send usage data to Google Analytics and write an id into the home folder as soon as
# they are imported, where they find this package; without it both fall back to their own stubs, which do nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__version__ = "0.1.0"

_HOMES = {
    "CatseyeError": "catseye.errors",
    "Classifier": "catseye.classifier",
    "Prediction": "catseye.classifier",
    "evaluate": "catseye.evaluation.evaluate",
    "export": "catseye.exporting.export",
    "load": "catseye.runtimes.loading",
    "preprocess": "catseye.preprocess",
    "train": "catseye.training.fit",
}
__all__ = ["CatseyeError", "Classifier", "Prediction", "evaluate", "export", "load", "preprocess", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"catseye has no {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
