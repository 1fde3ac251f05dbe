"""export.md: what the exported files are, their purpose, measurements and limits.

Enters: the opened files and the comparisons that proved them. Leaves: Markdown. Called by `export.py`.
"""

from collections.abc import Sequence

from catseye.counting import count
from catseye.exporting.familiarity_proof import FAMILIARITY_TOLERANCE
from catseye.exporting.map_proof import MAP_TOLERANCE, SHARE_JUDGED
from catseye.exporting.parity_result import ParityLimits, ParityResult, Score
from catseye.manifest import Quantisation
from catseye.runtimes.model_file import OpenedModel

_RESIZE = {
    "pad": "scale so that the whole image fits, centre it and fill the rest with {fill}",
    "crop": "scale the short side and cut the centre out",
    "squash": "scale to the size; the proportions change",
}
_WHERE = {
    "ONNX": "the file's metadata, under the key `catseye`",
    "OpenVINO IR": "the .xml's `rt_info`, under the key `catseye`",
    "timm folder": "the metadata of `model.safetensors`, under the key `catseye`",
    "TensorRT engine": "the start of the plan: 4 bytes of length, then JSON",
}

Proved = Sequence[tuple[str, OpenedModel, ParityResult]]


def model_card(files: Proved) -> str:
    """The card of one or several files of one run as Markdown.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting, in short form.
    """
    title, model, _ = files[0]
    manifest = model.manifest
    origin = manifest.provenance
    measured = ", ".join(f"{name} {value}" for name, value in origin.metric_texts())
    condition = model.when_unknown()
    threshold = (
        f"The answer is “unknown” where {condition}."
        if condition
        else "An object of no known class still gets one of them: no threshold for “unknown” is set."
    )
    made_by = f"catseye {origin.catseye} with torch {origin.torch}"
    marks = f"seed {origin.seed}, settings `{origin.settings_sha256[:12]}`, data `{origin.data_sha256[:12]}`"
    classes = ", ".join(manifest.classes[:100]) + (" …" if len(manifest.classes) > 100 else "")
    rows = "\n".join(_file_row(name, opened) for name, opened, _ in files)
    proofs = "\n".join(_proof(name, opened, comparison) for name, opened, comparison in files)
    return f"""# {title if len(files) == 1 else manifest.architecture.name}

**What.** `{manifest.architecture.name}`, made by {made_by} from a run of {origin.created} ({marks}).

| file | format | size | values | sha256 |
|---|---|---|---|---|
{rows}

**For what.** To tell images like those of *{origin.data_name}* apart, {count(len(manifest.classes), "class")}:
{classes}.

**Input.** {_input_line(model)}

**Outputs.** `prediction` (N, K) logits; `probability` (N, K), their softmax at temperature
{manifest.temperature:g}{_more_outputs(files)}. All of this is in each file too: {_places(files)}.

**Measured on.** The run's held-out images: {measured or "not recorded"}.

**Limits.** It was measured on images from the same source as its training images; others may be harder.
{threshold}

## Parity with the run

From file bytes to probabilities: the run in torch, each file in its own runtime, with the preprocessing stored in the
file. A file outside the tolerance is never written.
{proofs}"""


def _file_row(name: str, model: OpenedModel) -> str:
    opset = f", opset {model.opset}" if model.opset else ""
    values = f"{model.num_parameters:,}" if model.num_parameters is not None else "-"
    return f"| {name} | {model.format}{opset} | {model.num_bytes / 1e6:.2f} MB | {values} | `{model.sha256}` |"


def _input_line(model: OpenedModel) -> str:
    manifest = model.manifest
    spec = manifest.preprocessing
    colour = {1: "greyscale", 3: "RGB"}.get(spec.channels, f"{spec.channels} channels (TIFF or .npy)")
    if manifest.input_kind == "uint8":
        takes = f"(N, {spec.height_px}, {spec.width_px}, {spec.channels}) uint8; the normalisation is in the graph"
    else:
        takes = (
            f"(N, {spec.channels}, {spec.height_px}, {spec.width_px}) float32, (x / 255 - mean) / std per channel, "
            f"mean {list(spec.mean)}, std {list(spec.std)}"
        )
    resize = _RESIZE[spec.resize].format(fill=spec.fill)
    return f"""`image` {takes}. Decode, turn upright by EXIF, lay transparency on white,
convert to {colour}; {resize}; {spec.width_px} x {spec.height_px}, {spec.filter} with antialiasing (Pillow's)."""


def _more_outputs(files: Proved) -> str:
    named = {name for _, model, _ in files for name, _, _ in model.outputs}
    cam = "; `cam` (N, h, w), the class-activation map of the most probable class" if "cam" in named else ""
    return cam + ("; `familiarity` (N,), low for unknown images" if "familiarity" in named else "")


def _places(files: Proved) -> str:
    places = dict.fromkeys(_WHERE.get(model.format, "the archive's `extra/catseye`") for _, model, _ in files)
    return "; ".join(places)


def _proof(name: str, model: OpenedModel, comparison: ParityResult) -> str:
    how = model.manifest.quantisation
    fewer_bits = how is not None or model.format == "TensorRT engine"
    limits = ParityLimits(max_drop=how.max_drop if how else None) if fewer_bits else ParityLimits()
    allowed = limits.to_line() if how or not fewer_bits else "an accuracy within the budget"
    runtime = model.manifest.parity.runtime if model.manifest.parity else model.runtime
    rows = "\n".join(
        f"| {row.batch_size} | {row.agreement:.2%} | {row.max_difference:.2e} | {row.mean_difference:.2e} |"
        for row in comparison.rows
    )
    drop, low, high = (100 * value for value in comparison.drop)
    return f"""
### {name}

{comparison.num_images} {comparison.split} images, in {runtime}. Allowed: {allowed}.
{_quantised(how)}
| batch size | equal answers | largest difference of a probability | mean |
|---|---|---|---|
{rows}
{_familiarity(comparison, judged=not fewer_bits)}{_map(comparison, judged=not fewer_bits)}
| | accuracy (95% interval) | macro F1 |
|---|---|---|
| run | {_accuracy(comparison.run)} | {comparison.run.macro_f1:.4f} |
| this file | {_accuracy(comparison.file)} | {comparison.file.macro_f1:.4f} |
| lost | {drop:.2f} points ({low:.2f} – {high:.2f}) | {comparison.run.macro_f1 - comparison.file.macro_f1:.4f} |
"""


def _familiarity(comparison: ParityResult, *, judged: bool) -> str:
    if comparison.familiarity is None:
        return ""
    allowed = f"allowed: {FAMILIARITY_TOLERANCE:g}" if judged else "not judged in fewer bits"
    apart = comparison.familiarity.max_difference
    return f"\nFamiliarity, which detects unknown images: off by at most {apart:.1e}; {allowed}.\n"


def _map(comparison: ParityResult, *, judged: bool) -> str:
    if comparison.heat_map is None:
        return ""
    row = comparison.heat_map
    allowed = f"allowed: {MAP_TOLERANCE:g} on {SHARE_JUDGED:.0%} of them" if judged else "not judged in fewer bits"
    return (
        f"\nHeat maps against torch's Grad-CAM, in shares of a map's largest value: off by at most "
        f"{row.max_difference:.1e} on {count(row.num_images, 'image')}; {allowed}.\n"
    )


def _quantised(how: Quantisation | None) -> str:
    if how is None:
        return ""
    measured = ", ".join(f"{name} {value:.2e}" for name, value in how.measured.items())
    kept = f"; in float, because measured as sensitive: {', '.join(how.float_layers)}" if how.float_layers else ""
    return (
        f"\nINT8 by {how.tool}, calibrated on {how.num_calibration_images} training images ({how.calibration}), "
        f"chosen on {how.num_selection_images} {how.selection_split} images ({measured}){kept}.\n"
    )


def _accuracy(score: Score) -> str:
    return f"{score.accuracy:.2%} ({score.low:.2%} – {score.high:.2%})"
