"""README.md of a folder for the Hugging Face Hub: metadata, and model usage.

Enters: a manifest. Leaves: Markdown after a YAML head. Called by `hub.py`.
"""

import json
from typing import Any

from catseye.counting import count
from catseye.manifest import Manifest, Parity
from catseye.preprocess import Preprocessing

_METRICS = {"accuracy": "accuracy", "f1": "macro F1"}  # the Hub's names and ours
_FITTED = {
    "pad": "image = ImageOps.pad(image, ({width}, {height}), Image.Resampling.{filter}, color={fill})",
    "crop": "image = ImageOps.fit(image, ({width}, {height}), Image.Resampling.{filter})",
    "squash": "image = image.resize(({width}, {height}), Image.Resampling.{filter})",
}


def hub_card(manifest: Manifest, architecture: str) -> str:
    """The model card, without a licence.

    Only the person who trained the model can choose one.

    Source: Hugging Face Hub, Model Cards (metadata: library_name, pipeline_tag, tags, model-index).
    """
    origin, spec = manifest.provenance, manifest.preprocessing
    name = f"{architecture} on {_without_markup(origin.data_name)}"
    return f"""---
# license: choose one; https://huggingface.co/docs/hub/repositories-licenses lists the names. Published weights that
# training started from, and the images themselves, may set terms.
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- catseye
{_model_index(manifest, name)}---

# {name}

`{architecture}` of [timm](https://github.com/huggingface/pytorch-image-models), trained with catseye {origin.catseye}
to tell {count(len(manifest.classes), "class")} apart.

**Classes**, in the order of the logits: {_classes_as_code(manifest)}.

**Input.** {_input_facts(spec)}

## Measured

{_measured(manifest)}

The images are from the same source as those of training; others may be harder.{_strangers(manifest)}

## Use it

From this folder, or from the Hub with `hf-hub:USER/NAME` instead of `local-dir:FOLDER`:

```python
import numpy as np
import timm
import torch
from PIL import Image, ImageOps

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()

image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("{"L" if spec.channels == 1 else "RGB"}")
{_fitted(spec)}
x = torch.from_numpy(np.array(image)).reshape({spec.height_px}, {spec.width_px}, {spec.channels}).permute(2, 0, 1)
x = (x / 255 - torch.tensor({list(spec.mean)})[:, None, None]) / torch.tensor({list(spec.std)})[:, None, None]
with torch.inference_mode():
    logits = model(x[None])
probabilities = (logits / {manifest.temperature:g}).softmax(1)[0]  # by the temperature fitted on validation images
print(model.pretrained_cfg["label_names"][int(probabilities.argmax())])
```

`timm.data.create_transform(**timm.data.resolve_data_config(model=model))` does nearly the same{_borders(spec)}.
With catseye, which reads all of this from `model.safetensors`: `catseye predict FOLDER image.jpg`, or
`catseye.load("FOLDER")`.

To publish it: `hf upload USER/NAME FOLDER`.
"""


def _model_index(manifest: Manifest, name: str) -> str:
    """The results in the Hub's own form. JSON is YAML."""
    split, scores = _scores(manifest)
    if not scores:
        return ""
    metrics = [
        {"type": kind, "value": value, "name": f"{_METRICS[kind]}, {split} images"} for kind, value in scores.items()
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "imagefolder", "name": manifest.provenance.data_name, "split": split},
        "metrics": metrics,
    }
    return f"model-index:\n- {json.dumps({'name': name, 'results': [result]})}\n"


def _scores(manifest: Manifest) -> tuple[str, dict[str, float]]:
    """Split and metrics by the Hub's names."""
    metrics = manifest.provenance.metrics
    split = next((name.removesuffix("_accuracy") for name in metrics if name.endswith("_accuracy")), "")
    known = {"accuracy": f"{split}_accuracy", "f1": f"{split}_macro_f1"}
    return split, {kind: metrics[name] for kind, name in known.items() if name in metrics}


def _measured(manifest: Manifest) -> str:
    metrics = manifest.provenance.metrics
    split, scores = _scores(manifest)
    if not scores:
        return "Nothing was recorded."
    rows = []
    if "accuracy" in scores:
        low, high = metrics.get(f"{split}_accuracy_low"), metrics.get(f"{split}_accuracy_high")
        interval = f"{low:.2%} – {high:.2%}" if low is not None and high is not None else "-"
        rows.append(f"| accuracy | {scores['accuracy']:.2%} | {interval} |")
    if "f1" in scores:
        rows.append(f"| macro F1 | {scores['f1']:.2%} | - |")
    num = metrics.get(f"{split}_num_images")
    on = f"On {count(int(num), 'image')}" if num else "On the images"
    return f"""{on} held out from training (split: {split}):

| metric | value | 95% interval |
|---|---|---|
{chr(10).join(rows)}
{_how_proved(manifest.parity)}"""


def _how_proved(parity: Parity | None) -> str:
    if parity is None:
        return ""
    return (
        f"\nThis folder, loaded by {parity.runtime}, was compared with the trained model on "
        f"{count(parity.num_images, 'image')}: {parity.agreement:.0%} equal answers, probabilities at most "
        f"{parity.max_difference:.1e} apart."
    )


def _classes_as_code(manifest: Manifest) -> str:
    shown = [f"`{' '.join(name.replace(chr(96), chr(32)).split())}`" for name in manifest.classes[:100]]
    return ", ".join(shown) + (" … (`config.json` has all)" if len(manifest.classes) > 100 else "")


def _without_markup(name: str) -> str:
    """A name without characters that are special in Markdown."""
    return " ".join("".join(" " if sign in "`|<>[]\\" else sign for sign in name).split())


def _input_facts(spec: Preprocessing) -> str:
    colour = "greyscale" if spec.channels == 1 else "RGB"
    deep = ""
    if spec.value_range is not None and not isinstance(spec.value_range[0], tuple):
        low, high = spec.value_range
        deep = (
            f" Images of more than 8 bits per value are scaled so that {low:g} becomes black and {high:g} white; "
            "catseye does that, Pillow's `convert` below does not."
        )
    return (
        f"{spec.width_px} x {spec.height_px} px, {colour}, {spec.filter}, resize `{spec.resize}`; "
        f"mean {list(spec.mean)}, std {list(spec.std)} of values from 0 to 1.{deep}"
    )


def _fitted(spec: Preprocessing) -> str:
    values: dict[str, Any] = {
        "width": spec.width_px,
        "height": spec.height_px,
        "filter": spec.filter.upper(),
        "fill": spec.fill if spec.channels == 1 else (spec.fill,) * 3,
    }
    return _FITTED[spec.resize].format(**values)


def _borders(spec: Preprocessing) -> str:
    return " (it fills borders with the mean colour)" if spec.resize == "pad" else ""


def _strangers(manifest: Manifest) -> str:
    if manifest.unknown_threshold is None:
        return " An image of no known class still gets one of them."
    return (
        f" catseye answers “unknown” where the largest probability is below {manifest.unknown_threshold:.3f}; timm "
        "always names a class."
    )
