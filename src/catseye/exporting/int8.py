"""Quantises a float ONNX file to INT8 with ONNX Runtime.

Quantisation is static, with QDQ pairs and weights per channel.

Enters: the float file, training images to calibrate on, others to choose by, the accuracy budget. Leaves: the graph and
`Quantisation`, which records the measurements. Ranges are chosen by entropy and by percentile, whichever changes the
answers less. If that costs more accuracy than the budget, layers are ranked by how much each alone changes the answers,
and the most sensitive stay in float until the loss is within the budget. Called by `drafts.py`.

Source: Krishnamoorthi 2018, Quantizing deep convolutional networks for efficient inference; Migacz 2017, 8-bit
Inference with TensorRT (entropy); onnxruntime.ai, Quantize ONNX models.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import CatseyeError, MissingDependency
from catseye.exporting.held_out import HeldOut
from catseye.exporting.onnx_file import render_onnx
from catseye.exporting.parity import paired_drop
from catseye.manifest import Manifest, Quantisation
from catseye.preprocess import Pixels
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel, tensor_of

if TYPE_CHECKING:
    from onnx import ModelProto

METHODS = ("entropy", "percentile")
PERCENTILE = 99.99
NUM_CALIBRATION, NUM_SELECTION, NUM_RANKING = 128, 512, 32
BATCH = 8  # the calibrators hold every layer's output for a batch in memory
WEIGHTED = ("Conv", "Gemm", "MatMul")
# Layers with INT8 kernels, and those that pass integers through; the others compute in float between them.
QUANTISED = (*WEIGHTED, "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Flatten")


@dataclass(frozen=True)
class QuantisationLoss:
    """What a quantised graph loses on the selection images.

    The lost accuracy, the lower end of its 95% interval, and the mean |Δp|.
    """

    drop: float
    least: float
    difference: float


@dataclass
class Workshop:
    """The float file, its answers, and a folder for drafts."""

    folder: Path
    manifest: Manifest
    calibration: Pixels
    selection: Pixels
    labels: NDArray[np.int64]
    expected: NDArray[np.float32]
    outside: list[str]  # nodes before the first layer, and those of `cam`
    weighted: list[str]
    symmetric: bool = False
    caches: dict[str, Path] = field(default_factory=dict)

    @property
    def float_file(self) -> Path:
        """The graph that all drafts are made from."""
        return self.folder / "float.onnx"

    def measure(self, proto: "ModelProto") -> QuantisationLoss:
        """Measure a draft on the selection images."""
        draft = self.folder / "draft.onnx"
        draft.write_bytes(render_onnx(proto, self.manifest))
        probabilities = _probabilities(open_model(draft, trust=True), self.selection)
        drop, least, _ = paired_drop(self.expected.argmax(1) == self.labels, probabilities.argmax(1) == self.labels)
        return QuantisationLoss(drop, least, float(np.abs(probabilities - self.expected).mean()))


def quantise(
    float_bytes: bytes,
    manifest: Manifest,
    calibration: HeldOut,
    selection: HeldOut,
    max_drop: float,
    say: Callable[[str], None],
    *,
    symmetric: bool = False,
) -> tuple["ModelProto", Quantisation]:
    """The INT8 graph closest to the float one; `symmetric` ranges are for TensorRT.

    Raises:
        CatseyeError: no set of float layers keeps the loss of accuracy within `max_drop` (a share) on the selection.

    """
    with tempfile.TemporaryDirectory() as folder:
        shop = _open_workshop(Path(folder), float_bytes, manifest, calibration, selection)
        shop.symmetric = symmetric
        measured: dict[str, float] = {}
        tried = []
        for method in METHODS:
            proto = _draft(shop, method)
            loss = shop.measure(proto)
            say(f"INT8 by {method}: {100 * loss.drop:+.2f} points lost, probabilities off by {loss.difference:.1e}")
            measured |= {f"{method} drop": loss.drop, f"{method} mean difference": loss.difference}
            tried.append((loss.difference, loss.least, method, proto))
        # Not by `drop`: on so few images it is mostly chance, and even a poor draft may gain.
        _, least, method, proto = min(tried, key=lambda row: row[0])
        left_out: tuple[str, ...] = ()
        if least > max_drop:  # the certain loss: one image of sixty does not justify a search of minutes
            ranked = _rank(shop, method)
            say(f"INT8 by {method} loses more than {100 * max_drop:g} points; most sensitive: {', '.join(ranked[:3])}")
            proto, left_out, loss = _leave_out(shop, method, ranked, max_drop)
            measured |= {"kept drop": loss.drop, "kept mean difference": loss.difference}
            say(f"{len(left_out)} of {len(ranked)} layers stay in float: {100 * loss.drop:+.2f} points lost")
    return proto, Quantisation(
        tool=f"onnxruntime {version('onnxruntime')}",
        calibration=f"percentile {PERCENTILE}" if method == "percentile" else method,
        num_calibration_images=len(calibration.names),
        selection_split=selection.split,
        num_selection_images=len(selection.names),
        measured=measured,
        float_layers=left_out,
        max_drop=max_drop,
    )


def _open_workshop(
    folder: Path, float_bytes: bytes, manifest: Manifest, calibration: HeldOut, selection: HeldOut
) -> Workshop:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency(error.name or "onnx") from None
    (folder / "float.onnx").write_bytes(float_bytes)
    proto = onnx.load_model_from_string(float_bytes)
    # Otherwise the quantiser advises steps that torch's exporter has done: infer shapes, fold batch norm.
    proto.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    opened = open_model(folder / "float.onnx", trust=True)
    (folder / "float.onnx").write_bytes(proto.SerializeToString())
    inside = _needed_by(proto, "prediction")
    first = next((place for place, node in enumerate(proto.graph.node) if node.op_type in WEIGHTED), 0)
    outside = [node.name for place, node in enumerate(proto.graph.node) if place < first or node.name not in inside]
    weighted = [node.name for node in proto.graph.node if node.op_type in WEIGHTED and node.name in inside]
    spec = manifest.preprocessing
    pixels = selection.pixels(spec)
    return Workshop(
        folder,
        manifest,
        calibration.pixels(spec),
        pixels,
        selection.labels,
        _probabilities(opened, pixels),
        outside,
        weighted,
    )


def _needed_by(proto: "ModelProto", output: str) -> set[str]:
    """Names of the nodes that an output depends on."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    names: set[str] = set()
    waiting = [output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in names:
            names.add(node.name)
            waiting += node.input
    return names


def _draft(shop: Workshop, method: str, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> "ModelProto":
    """Quantise all layers, `only` some, or all `without` some.

    The ranges are found once per method.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if method not in shop.caches:
        shop.caches[method] = _find_ranges(shop, method)
    target = shop.folder / "quantised.onnx"
    try:
        quantize_static(
            shop.float_file,
            target,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=list(only) or None,
            nodes_to_exclude=[*shop.outside, *without],
            per_channel=True,
            # x86 (VNNI) and Arm multiply these fastest: unsigned activations, signed symmetric weights.
            activation_type=QuantType.QInt8 if shop.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method.capitalize()],
            calibration_cache_path=shop.caches[method],
            extra_options={"ActivationSymmetric": True, "QuantizeBias": False} if shop.symmetric else {},
        )
    except Exception as error:
        raise CatseyeError(f"ONNX Runtime cannot quantise {shop.manifest.architecture.name} ({error})") from error
    return onnx.load(target)


def _find_ranges(shop: Workshop, method: str) -> Path:
    from onnxruntime.quantization import CalibrationMethod, create_calibrator, save_tensors_data

    # By default both methods make every range symmetric, which wastes half of it after a ReLU. 128 bins, the default,
    # leave entropy nothing to choose.
    options: dict[str, Any] = {"symmetric": False}
    options |= {"percentile": PERCENTILE} if method == "percentile" else {"num_bins": 1024}
    calibrator = create_calibrator(
        shop.float_file,
        list(QUANTISED),
        augmented_model_path=str(shop.folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod[method.capitalize()],
        providers=["CPUExecutionProvider"],
        extra_options=options,
    )
    path = shop.folder / f"{method}.json"
    # It reports its progress on stdout, which is for results.
    with contextlib.redirect_stdout(io.StringIO()):
        for start in range(0, len(shop.calibration), BATCH):
            calibrator.collect_data(_Reader(tensor_of(shop.calibration[start : start + BATCH], shop.manifest)))
        save_tensors_data(calibrator.compute_data(), path)
    return path


class _Reader:
    """One batch, in the interface that ONNX Runtime's calibrators need."""

    def __init__(self, image: NDArray[Any]) -> None:
        self.batches = [{"image": image}]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The batch once, then None."""
        return self.batches.pop() if self.batches else None


def _rank(shop: Workshop, method: str) -> list[str]:
    """Layers with weights, sorted by sensitivity to quantisation.

    That is how much the quantisation of each alone changes the answers.
    """
    few = min(NUM_RANKING, len(shop.selection))
    moved = {}
    draft = shop.folder / "draft.onnx"
    for name in shop.weighted:
        draft.write_bytes(render_onnx(_draft(shop, method, only=[name]), shop.manifest))
        probabilities = _probabilities(open_model(draft, trust=True), shop.selection[:few])
        moved[name] = float(np.square(probabilities - shop.expected[:few]).mean())
    return sorted(moved, key=lambda name: -moved[name])


def _leave_out(
    shop: Workshop, method: str, ranked: Sequence[str], max_drop: float
) -> tuple["ModelProto", tuple[str, ...], QuantisationLoss]:
    """Leave 1, 2, 3, 5, 8 … of the most sensitive layers in float.

    It ends when the loss is within the budget.
    """
    count, following = 1, 2
    loss = QuantisationLoss(1.0, 1.0, 1.0)
    while count < len(ranked):
        left_out = tuple(ranked[:count])
        proto = _draft(shop, method, without=left_out)
        loss = shop.measure(proto)
        if loss.drop <= max_drop:  # stricter than the condition for starting the search
            return proto, left_out, loss
        count, following = following, count + following
    raise CatseyeError(
        f"INT8 costs more than the allowed {100 * max_drop:g} points of accuracy (--max-drop), even with most layers "
        f"in float ({100 * loss.drop:.2f} points); allow more, or leave --int8 out"
    )


def _probabilities(model: OpenedModel, pixels: Pixels) -> NDArray[np.float32]:
    parts = [model.run(pixels[start : start + 64])["probability"] for start in range(0, len(pixels), 64)]
    return np.concatenate(parts)
