"""catseye: labelled images in, an image classifier in production out.

    import catseye
    run = catseye.train("photos/", epochs=20)
    print(catseye.evaluate(run).metrics.accuracy)
    print(run.classifier.predict("cat.jpg").label)
    print(catseye.export(run).path)

Everything that takes a model takes a path, or what `train`, `open_run`, `load` or `export` returns.
Every verb of the command line is one of these functions, with options of the same names. They are loaded when
first used, so that `import catseye` is fast and needs no torch.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catseye.classifier import Classifier as Classifier
    from catseye.classifier import Prediction as Prediction
    from catseye.deploying.deploy import deploy_compose as deploy_compose
    from catseye.deploying.deploy import deploy_docker as deploy_docker
    from catseye.deploying.deploy import deploy_kubernetes as deploy_kubernetes
    from catseye.deploying.deploy import deploy_kubernetes_job as deploy_kubernetes_job
    from catseye.deploying.deploy import deploy_lambda as deploy_lambda
    from catseye.deploying.deploy import deploy_slurm as deploy_slurm
    from catseye.embedding.deep_check import check_data as check
    from catseye.embedding.walks import embed_data as embed
    from catseye.embedding.walks import search_file as search
    from catseye.errors import CatseyeError as CatseyeError
    from catseye.evaluation.calibrate import calibrate as calibrate
    from catseye.evaluation.compare import compare as compare
    from catseye.evaluation.evaluate import evaluate as evaluate
    from catseye.explanation.dimensions import summary as summary
    from catseye.explanation.explain import explain as explain
    from catseye.explanation.layers import explain_feature_maps as explain_feature_maps
    from catseye.explanation.layers import explain_gradient_flow as explain_gradient_flow
    from catseye.explanation.layers import explain_kernels as explain_kernels
    from catseye.explanation.layers import explain_receptive_field as explain_receptive_field
    from catseye.exporting.bench import bench as bench
    from catseye.exporting.export import export as export
    from catseye.lab.command import open_lab as open_lab
    from catseye.models.listing import create_model as create_model
    from catseye.models.listing import list_models as list_models
    from catseye.prediction.answers import predict as predict
    from catseye.preprocess import preprocess as preprocess
    from catseye.review.command import open_labels as open_labels
    from catseye.review.command import open_review as open_review
    from catseye.review.teach_command import open_teach as open_teach
    from catseye.runs import open_run as open_run
    from catseye.runtimes.inspection import info as info
    from catseye.runtimes.loading import load as load
    from catseye.serving.command import serve as serve
    from catseye.settings.listing import list_settings as list_settings
    from catseye.training.lr_find import lr_find as lr_find
    from catseye.training.shown import show_batch as show_batch
    from catseye.training.timeline import timeline as timeline
    from catseye.training.train import train as train

# ONNX Runtime's official builds (1.32, on Linux too) send usage data to Microsoft and keep an identifier in the user's
# cache folder; this is its own switch (its Privacy.md), set before it is loaded. To allow it, set 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# If this package can be imported, OpenVINO and NNCF send usage data to Google Analytics and write an id into the home
# folder as soon as they are imported; without it both fall back to their own stubs, which do nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__version__ = "0.1.0"

_HOMES = {
    "CatseyeError": "catseye.errors",
    "Classifier": "catseye.classifier",
    "Prediction": "catseye.classifier",
    "bench": "catseye.exporting.bench",
    "calibrate": "catseye.evaluation.calibrate",
    "check": "catseye.embedding.deep_check:check_data",
    "compare": "catseye.evaluation.compare",
    "create_model": "catseye.models.listing",
    "deploy_compose": "catseye.deploying.deploy",
    "deploy_docker": "catseye.deploying.deploy",
    "deploy_kubernetes": "catseye.deploying.deploy",
    "deploy_kubernetes_job": "catseye.deploying.deploy",
    "deploy_lambda": "catseye.deploying.deploy",
    "deploy_slurm": "catseye.deploying.deploy",
    "embed": "catseye.embedding.walks:embed_data",
    "evaluate": "catseye.evaluation.evaluate",
    "explain": "catseye.explanation.explain",
    "explain_feature_maps": "catseye.explanation.layers",
    "explain_gradient_flow": "catseye.explanation.layers",
    "explain_kernels": "catseye.explanation.layers",
    "explain_receptive_field": "catseye.explanation.layers",
    "export": "catseye.exporting.export",
    "info": "catseye.runtimes.inspection",
    "list_models": "catseye.models.listing",
    "list_settings": "catseye.settings.listing",
    "load": "catseye.runtimes.loading",
    "lr_find": "catseye.training.lr_find",
    "open_lab": "catseye.lab.command",
    "open_labels": "catseye.review.command",
    "open_review": "catseye.review.command",
    "open_run": "catseye.runs",
    "open_teach": "catseye.review.teach_command",
    "predict": "catseye.prediction.answers",
    "preprocess": "catseye.preprocess",
    "search": "catseye.embedding.walks:search_file",
    "serve": "catseye.serving.command",
    "show_batch": "catseye.training.shown",
    "summary": "catseye.explanation.dimensions",
    "timeline": "catseye.training.timeline",
    "train": "catseye.training.train",
}
__all__ = [
    "CatseyeError", "Classifier", "Prediction", "bench", "calibrate", "check", "compare", "create_model",
    "deploy_compose", "deploy_docker", "deploy_kubernetes", "deploy_kubernetes_job", "deploy_lambda", "deploy_slurm",
    "embed", "evaluate", "explain", "explain_feature_maps", "explain_gradient_flow", "explain_kernels",
    "explain_receptive_field", "export", "info", "list_models", "list_settings", "load", "lr_find", "open_lab",
    "open_labels", "open_review", "open_run", "open_teach", "predict", "preprocess", "search", "serve", "show_batch",
    "summary", "timeline", "train",
]  # fmt: skip


class _Package(ModuleType):
    """The package itself.

    A public function is not replaced when a module of the same name is imported.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless a module would replace a public function."""
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"catseye has no {name!r}; it has: {', '.join(__all__)}")
    try:
        module, _, own = _HOMES[name].partition(":")
        return getattr(import_module(module), own or name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "catseye"):
            raise
        from catseye.errors import MissingDependency

        raise MissingDependency(package) from None


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
