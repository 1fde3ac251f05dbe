"""export.md: what an exported file is, what for, what it was measured on, and where it ends.

Enters: the opened file and the comparison that proved it. Leaves: Markdown. Called by `export.py`.
"""

from catseye.exporting.parity import Comparison, Score
from catseye.onnx_runtime import OnnxModel

_RESIZE = {
    "pad": "scale so that the whole picture fits, centre it and fill the rest with {fill}",
    "crop": "scale the short side and cut the centre out",
    "squash": "scale to the size; the proportions change",
}


def model_card(file: str, model: OnnxModel, comparison: Comparison) -> str:
    """The card as Markdown.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting, in short form.
    """
    manifest = model.manifest
    spec, origin = manifest.preprocessing, manifest.provenance
    size = f"{spec.width_px} x {spec.height_px}"
    colour = "greyscale" if spec.channels == 1 else "RGB"
    resize = _RESIZE[spec.resize].format(fill=spec.fill)
    if manifest.input_kind == "uint8":
        takes = f"(N, {spec.height_px}, {spec.width_px}, {spec.channels}) uint8; the normalisation is in the graph"
    else:
        takes = (
            f"(N, {spec.channels}, {spec.height_px}, {spec.width_px}) float32, (x / 255 - mean) / std per channel, "
            f"mean {list(spec.mean)}, std {list(spec.std)}"
        )
    cam = "; `cam` (N, h, w), where the most probable class was seen" if "cam" in _outputs(model) else ""
    measured = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in origin.metrics.items())
    threshold = (
        "An object of no known class still gets one of them: no threshold for “unknown” is set."
        if manifest.unknown_threshold is None
        else f"Below a probability of {manifest.unknown_threshold:.2f} the answer is “unknown”."
    )
    rows = "\n".join(
        f"| {row.batch_size} | {row.agreement:.2%} | {row.max_difference:.2e} | {row.mean_difference:.2e} |"
        for row in comparison.rows
    )
    made_by = f"catseye {origin.catseye} with torch {origin.torch}"
    marks = f"seed {origin.seed}, settings `{origin.settings_sha256[:12]}`, data `{origin.data_sha256[:12]}`"
    runtime = manifest.parity.runtime if manifest.parity else "ONNX Runtime"
    num_bytes, num_parameters = model.num_bytes, model.structure.num_parameters
    classes = ", ".join(manifest.classes[:100]) + (" …" if len(manifest.classes) > 100 else "")
    return f"""# {file}

**What.** `{manifest.architecture.name}`, {num_parameters:,} values, {num_bytes / 1e6:.2f} MB,
ONNX opset {model.structure.opset}, sha256 `{model.sha256}`.
Made by {made_by} from a run of {origin.created} ({marks}).

**For what.** To tell pictures like those of *{origin.data_name}* apart, {len(manifest.classes)} classes: {classes}.

**Input.** `image` {takes}. Decode, turn upright by EXIF, lay transparency on white,
convert to {colour}; {resize}; {size}, {spec.filter} with antialiasing (Pillow's).

**Outputs.** `prediction` (N, K) logits; `probability` (N, K), their softmax at temperature
{manifest.temperature:g}{cam}. All of this is in the file's metadata too, under the key `catseye`.

**Measured on.** The run's held-out pictures: {measured or "not recorded"}.

**Limits.** It was measured on pictures from the same source as its training pictures; others may be harder.
{threshold}

## Parity with the run

{comparison.num_pictures} {comparison.split} pictures, from file bytes to probabilities: the run in torch, this file in
{runtime}. Allowed: equal answers for all pictures and a largest difference of 1e-4;
otherwise the file would not exist.

| batch size | equal answers | largest difference of a probability | mean |
|---|---|---|---|
{rows}

| | accuracy (95 % interval) | macro F1 |
|---|---|---|
| run | {_accuracy(comparison.run)} | {comparison.run.macro_f1:.4f} |
| this file | {_accuracy(comparison.file)} | {comparison.file.macro_f1:.4f} |
"""


def _accuracy(score: Score) -> str:
    return f"{score.accuracy:.2%} ({score.low:.2%} – {score.high:.2%})"


def _outputs(model: OnnxModel) -> set[str]:
    return {one.name for one in model.session.get_outputs()}
