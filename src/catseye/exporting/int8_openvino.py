"""An OpenVINO model as an INT8 one, by NNCF: static quantisation with bias correction.

Enters: the float model, training pictures to calibrate on, others to choose by, the accuracy budget. Leaves: the
quantised model and `Quantisation`. Called by `export.py`.

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
from catseye.manifest import Manifest, Quantisation
from catseye.model_file import first_line, tensor_of


def quantise_openvino(
    model: Any,
    manifest: Manifest,
    calibration: HeldOut,
    selection: HeldOut,
    max_drop: float,
    say: Callable[[str], None],
) -> tuple[Any, Quantisation]:
    """The INT8 model; where it loses more than `max_drop` (a share), NNCF puts layers back into float one by one.

    Raises:
        MissingDependency: NNCF is not installed. CatseyeError: NNCF cannot quantise the network.

    """
    # Read when nncf is imported: no usage data is sent from here.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise MissingDependency(error.name or "nncf", "openvino") from None
    nncf.set_log_level(logging.ERROR)
    spec = manifest.preprocessing
    images = [tensor_of(one[None], manifest) for one in calibration.pixels(spec)]
    chosen = [
        (tensor_of(pixels[None], manifest), label)
        for pixels, label in zip(selection.pixels(spec), selection.labels, strict=True)
    ]

    def validate(compiled: Any, rows: Iterable[tuple[NDArray[Any], np.int64]]) -> tuple[float, list[float]]:
        hits = [float(compiled(image)["prediction"].argmax() == label) for image, label in rows]
        return float(np.mean(hits)), hits

    def accuracy(asked: Any) -> float:
        return validate(openvino.compile_model(asked, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), chosen)[0]

    def first(row: tuple[NDArray[Any], np.int64]) -> NDArray[Any]:
        return row[0]

    try:
        # Progress bars would stand among the results on stdout.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = accuracy(model)
            quantised = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
            drop = before - accuracy(quantised)
            measured = {"drop": drop}
            if drop > max_drop:
                say(f"INT8 by NNCF loses {100 * drop:.2f} points; NNCF looks for layers to leave in float")
                quantised = nncf.quantize_with_accuracy_control(
                    model,
                    calibration_dataset=nncf.Dataset(images),
                    validation_dataset=nncf.Dataset(chosen, first),
                    validation_fn=validate,
                    max_drop=max_drop,
                    drop_type=nncf.DropType.ABSOLUTE,
                    subset_size=len(images),
                )
                drop = before - accuracy(quantised)
                measured["kept drop"] = drop
    except Exception as error:  # NNCF wraps whatever its passes raise
        raise CatseyeError(f"NNCF cannot quantise {manifest.architecture.name} ({first_line(error)})") from error
    say(f"INT8 by NNCF: {100 * drop:+.2f} points lost")
    return quantised, Quantisation(
        tool=f"nncf {version('nncf')}",
        calibration="min/max with bias correction",
        num_calibration_pictures=len(images),
        selection_split=selection.split,
        num_selection_pictures=len(chosen),
        measured=measured,
        float_layers=_float_layers(quantised),
        max_drop=max_drop,
    )


def _float_layers(model: Any) -> tuple[str, ...]:
    """Convolutions and matrix products whose weights were left in float."""
    left = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            weight = node.input_value(1).get_node()
            if weight.get_type_name() == "Constant":
                left.append(node.get_friendly_name())
    return tuple(left)
