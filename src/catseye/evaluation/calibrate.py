"""`catseye calibrate`: a run's validation images in, its temperature and threshold for "unknown" out.

Called by cli. `training/fit.py` fits the temperature itself when a run ends; this walk does it for a run that has none,
chooses the threshold, and measures both on images that chose neither.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catseye.classifier import softmax
from catseye.data.prepare_evaluation import prepare_foreign
from catseye.errors import UsageError
from catseye.evaluation.calibration import Calibration, fit_temperature, fit_vector, judge
from catseye.evaluation.measure import MeasuredModel, collect_outputs, measure
from catseye.evaluation.rejection import Rejection, auroc, choose_threshold, energy
from catseye.manifest import METADATA_KEY
from catseye.runs import open_run, read_tensors, write_json, write_tensors
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel


@dataclass(frozen=True)
class Strangers:
    """How well two scores tell the run's images from those of other data; `refused` by the threshold, 0 to 1."""

    source: str
    num_images: int
    auroc_probability: float
    auroc_energy: float
    refused: float | None


@dataclass(frozen=True)
class Calibrated:
    """What was chosen on validation images, and what it did on test images (None where there are none)."""

    validation: Calibration
    test: Calibration | None
    rejection: Rejection | None
    test_coverage: float | None
    test_risk: float | None
    strangers: Strangers | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "validation": self.validation.to_json(),
            "test": self.test.to_json() if self.test else None,
            "rejection": self.rejection.to_json() if self.rejection else None,
            "test_coverage": self.test_coverage,
            "test_risk": self.test_risk,
            "strangers": vars(self.strangers) if self.strangers else None,
        }

    def to_lines(self) -> list[str]:
        """What a terminal shows."""
        count = self.validation.num_images
        temperature = self.validation.temperature
        lines = [f"temperature {temperature:.3f}, from {count:,} validation images"]
        if temperature == 1.0:
            lines = [f"temperature 1: on {count:,} validation images no other clearly lowers the loss, so none is used"]
        for name, one in (("validation", self.validation), ("test", self.test)):
            if one is not None:
                before, after = one.before, one.after
                vector = f" (vector scaling: {one.vector.ece:.2%})" if one.vector else ""
                lines.append(
                    f"{name}: ECE {before.ece:.2%} -> {after.ece:.2%}{vector}, "
                    f"Brier {before.brier:.4f} -> {after.brier:.4f}, NLL {before.loss:.4f} -> {after.loss:.4f}"
                )
        if (chosen := self.rejection) is not None:
            if chosen.threshold is None:
                lines.append(f"every answer may stand: {chosen.risk:.2%} errors among all validation images")
            else:
                lines.append(
                    f"“unknown” below {chosen.threshold:.4f}: {chosen.coverage:.2%} of the validation images are "
                    f"answered, {chosen.risk:.2%} of those wrongly (95 % interval up to {chosen.risk_high:.2%})"
                )
        if self.test_coverage is not None:
            lines.append(f"on test images: {self.test_coverage:.2%} answered, {self.test_risk:.2%} of those wrongly")
        if (found := self.strangers) is not None:
            refused = "" if found.refused is None else f"; {found.refused:.1%} of them get “unknown”"
            lines.append(
                f"AUROC against {found.num_images:,} images of {found.source}: largest probability "
                f"{found.auroc_probability:.3f}, energy {found.auroc_energy:.3f}{refused}"
            )
        return lines


def calibrate(
    run: str | Path,
    *,
    max_risk: float | None = None,
    against: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
) -> Calibrated:
    """Fit the temperature of a run on its validation images and store it in its model file.

    With `max_risk`, 0 to 1, also the threshold below which the answer is "unknown"; without it, none is stored.
    `against` names images of something else, to measure how well they are recognised as that. `data` is where the
    run's images are now, if they were moved. Exported files made
    before do not change: export again. Writes calibration.json.

    Raises:
        UsageError: the run has no validation images. DataError: they are gone, or `data` holds others.
        CatseyeError: `max_risk` is out of reach.

    """
    opened = open_run(run)
    model = open_model(opened.path, device=device)
    recorded = opened.data["splits"]
    if not recorded.get("val"):
        raise UsageError(f"{run} has no validation images to calibrate on; train with data.val_fraction above 0")
    validation = measure(model, data_dir=data_dir, split="val", moved=data).outputs
    temperature = fit_temperature(validation.logits, validation.labels)
    vector = fit_vector(validation.logits, validation.labels)
    rejection = None
    if max_risk is not None:
        rejection = choose_threshold(*_confidence(validation.logits, validation.labels, temperature), max_risk)
    threshold = rejection.threshold if rejection else None
    test = measure(model, data_dir=data_dir, split="test", moved=data) if recorded.get("test") else None
    coverage, risk = _apply(test, temperature, threshold)
    known = test.outputs.logits if test else validation.logits
    result = Calibrated(
        judge(validation.logits, validation.labels, temperature, vector),
        judge(test.outputs.logits, test.outputs.labels, temperature, vector) if test else None,
        rejection,
        coverage,
        risk,
        _strangers(model, known, temperature, threshold, str(against), data_dir) if against is not None else None,
    )
    tensors, _ = read_tensors(opened.model_path)
    changed = model.manifest.model_copy(update={"temperature": temperature, "unknown_threshold": threshold})
    write_tensors(opened.model_path, tensors, {METADATA_KEY: changed.to_json()})
    write_json(opened.path / "calibration.json", result.to_json())
    return result


def _confidence(logits: Any, labels: Any, temperature: float) -> tuple[Any, Any]:
    probabilities = softmax(logits, temperature)
    return probabilities.max(1), probabilities.argmax(1) == labels


def _apply(
    test: MeasuredModel | None, temperature: float, threshold: float | None
) -> tuple[float | None, float | None]:
    if test is None or threshold is None:
        return None, None
    confidence, right = _confidence(test.outputs.logits, test.outputs.labels, temperature)
    answered = confidence >= threshold
    return float(answered.mean()), float((~right[answered]).mean()) if answered.any() else 0.0


def _strangers(
    model: OpenedModel,
    known: Any,
    temperature: float,
    threshold: float | None,
    source: str,
    data_dir: str | Path | None,
) -> Strangers:
    """Source: Hendrycks, Gimpel 2017, arXiv 1610.02136 (largest probability); Liu et al. 2020 (energy)."""
    loader = prepare_foreign(
        source,
        model.manifest.preprocessing,
        device=torch.device(model.device),
        data_dir=Path(data_dir) if data_dir else None,
    )
    foreign = collect_outputs(model, loader).logits
    inside, outside = (softmax(logits, temperature).max(1) for logits in (known, foreign))
    return Strangers(
        source,
        len(foreign),
        auroc(inside, outside),
        auroc(energy(known), energy(foreign)),
        None if threshold is None else float(np.mean(outside < threshold)),
    )
