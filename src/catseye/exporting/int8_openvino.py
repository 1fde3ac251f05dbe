"""Quantises an OpenVINO model to INT8 with NNCF.

Quantisation is static, with bias correction, and covers the network only.

Enters: the float model, training images to calibrate on, others to choose by, the accuracy budget. Leaves: the
quantised model and `Quantisation`. The range of an activation is taken from all calibration images or averaged over
them, whichever changes the answers less. Called by `drafts.py`.

Source: NNCF 3.4, `nncf.quantize` and `nncf.quantize_with_accuracy_control`.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import CatseyeError, MissingDependency
from catseye.exporting.held_out import HeldOut
from catseye.exporting.parity import paired_drop
from catseye.manifest import Manifest, Quantisation
from catseye.runtimes.model_file import first_line, tensor_of

BATCH = 64
RANGES = ("min/max", "mean min/max")
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")


def quantise_openvino(
    model: Any,
    manifest: Manifest,
    calibration: HeldOut,
    selection: HeldOut,
    max_drop: float,
    say: Callable[[str], None],
) -> tuple[Any, Quantisation]:
    """The INT8 model closest to the float one.

    If it loses more than `max_drop` (a share), NNCF leaves layers in float.

    Raises:
        MissingDependency: NNCF is not installed. CatseyeError: NNCF cannot quantise the network.

    """
    nncf = _import_nncf()
    images = [tensor_of(image[None], manifest) for image in calibration.pixels(manifest.preprocessing)]
    selected = tensor_of(selection.pixels(manifest.preprocessing), manifest)
    outside = kept_in_float(model)  # familiarity has a matrix product of its own, which no prediction needs
    options: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.MIXED,  # ranges need not be symmetric, as in int8.py
        "subset_size": len(images),
        "ignored_scope": nncf.IgnoredScope(names=outside, validate=False),
    }
    try:
        # Progress bars would mix with the results on stdout.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meter = _DraftMeter(model, selected, selection.labels, say)
            tried = []
            for name in RANGES:
                draft = nncf.quantize(model, nncf.Dataset(images), advanced_parameters=_ranges(name), **options)
                least, difference = meter.measure(draft, name)
                tried.append((difference, least, name, draft))
            # Not by the drop: on so few images it is mostly chance, and even a poor draft may gain.
            _, least, name, quantised = min(tried, key=lambda row: row[0])
            if least > max_drop:
                say(f"that is more than {100 * max_drop:g} points; NNCF looks for layers to leave in float")
                quantised = nncf.quantize_with_accuracy_control(
                    model,
                    calibration_dataset=nncf.Dataset(images),
                    validation_dataset=nncf.Dataset(list(zip(selected, selection.labels, strict=True)), _image),
                    validation_fn=_validate_openvino,
                    max_drop=max_drop,
                    drop_type=nncf.DropType.ABSOLUTE,
                    advanced_quantization_parameters=_ranges(name),
                    **options,
                )
                meter.measure(quantised, "kept")
    except Exception as error:  # NNCF wraps the exceptions of its passes
        raise CatseyeError(f"NNCF cannot quantise {manifest.architecture.name} ({first_line(error)})") from error
    return quantised, Quantisation(
        tool=f"nncf {version('nncf')}",
        calibration=f"{name}, with bias correction",
        num_calibration_images=len(images),
        selection_split=selection.split,
        num_selection_images=len(selected),
        measured=meter.measured,
        float_layers=tuple(name for name in _float_layers(quantised) if name not in outside),
        max_drop=max_drop,
    )


def _import_nncf() -> Any:
    # nncf reads this when it is imported, and then sends no usage data.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError as error:
        raise MissingDependency(error.name or "nncf") from None
    nncf.set_log_level(logging.ERROR)
    return nncf


class _DraftMeter:
    """Compares drafts with the float model and keeps the results.

    It uses the selection images.
    """

    def __init__(self, model: Any, images: Any, labels: NDArray[np.int64], say: Callable[[str], None]) -> None:
        self._images, self._labels, self._say = images, labels, say
        self._expected = _openvino_probabilities(model, images)
        self.measured: dict[str, float] = {}

    def measure(self, draft: Any, name: str) -> tuple[float, float]:
        """The drop's lower end, and the mean difference of the probabilities.

        The lower end is that of its 95% interval.
        """
        probabilities = _openvino_probabilities(draft, self._images)
        hits = [values.argmax(1) == self._labels for values in (self._expected, probabilities)]
        drop, least, _ = paired_drop(*hits)
        difference = float(np.abs(probabilities - self._expected).mean())
        self.measured.update({f"{name} drop": drop, f"{name} mean difference": difference})
        self._say(f"INT8 by NNCF, {name}: {100 * drop:+.2f} points lost, probabilities off by {difference:.1e}")
        return least, difference


def _ranges(name: str) -> Any:
    """How NNCF finds the range of an activation.

    `mean min/max`, its default, cuts off rare values.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    estimator = {"min/max": RangeEstimatorParametersSet.MINMAX, "mean min/max": RangeEstimatorParametersSet.MEAN_MINMAX}
    return nncf.AdvancedQuantizationParameters(activations_range_estimator_params=estimator[name])


def _openvino_probabilities(model: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    import openvino

    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    parts = [compiled(images[start : start + BATCH])["probability"] for start in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def _image(row: tuple[NDArray[Any], np.int64]) -> NDArray[Any]:
    return row[0][None]


def _validate_openvino(compiled: Any, rows: Iterable[tuple[NDArray[Any], np.int64]]) -> tuple[float, list[float]]:
    """Accuracy, and for each image whether it is right.

    NNCF's search for sensitive layers needs this form.
    """
    hits = [float(compiled(_image(row))["probability"].argmax() == row[1]) for row in rows]
    return float(np.mean(hits)), hits


def kept_in_float(model: Any) -> list[str]:
    """The names of the nodes that stay in float.

    These are the nodes before the first layer with weights, those that `prediction` does not need, and sums of two
    branches. NNCF would quantise every operator that takes integers: the normalisation, the maps of `cam`, and the
    logits divided by the temperature, where 256 steps make ties. Sums, because OpenVINO 2026.4 fuses a convolution with
    the following sum: if both summands are quantised results of convolutions, as in a block with a projection, some
    values of the sum are off by a step (brgconv, AVX-512).
    """
    behind_weights: set[str] = set()
    needed: set[str] = set()
    waiting = [model.output("prediction").get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in needed:
            needed.add(node.get_friendly_name())
            waiting += [value.get_node() for value in node.input_values()]
    left = []
    for node in model.get_ordered_ops():
        name, kind = node.get_friendly_name(), node.get_type_name()
        sources = [value.get_node() for value in node.input_values()]
        if kind in WEIGHTED or any(source.get_friendly_name() in behind_weights for source in sources):
            behind_weights.add(name)
        inside = name in needed and name in behind_weights
        # Other sums add a bias.
        branches = kind == "Add" and all(
            source.get_friendly_name() in behind_weights and not _is_constant(source) for source in sources
        )
        if kind not in ("Parameter", "Constant", "Result") and (branches or not inside):
            left.append(name)
    return left


def _is_constant(node: Any) -> bool:
    """Whether it is a constant, also after a change of its shape or type."""
    while node.get_type_name() in ("Reshape", "Unsqueeze", "Convert", "Broadcast"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _float_layers(model: Any) -> tuple[str, ...]:
    """Convolutions and matrix products whose weights were left in float."""
    left = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in WEIGHTED:
            weight = node.input_value(1).get_node()
            if weight.get_type_name() == "Constant":
                left.append(node.get_friendly_name())
    return tuple(left)
