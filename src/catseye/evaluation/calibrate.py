"""`catseye calibrate`: a run's temperature and its thresholds for "unknown".

Enters: a run and its validation images. Leaves: `Calibrated`, and the changed model file. Called by cli. Training fits
temperature and familiarity when a run ends; this command does it for a run that has none, chooses a threshold of the
probability, and measures the result on images that took no part in the choice.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray

from catseye.classifier import softmax
from catseye.data.sources import Images
from catseye.errors import UsageError
from catseye.evaluation.calibration import Calibration, fit_temperature, fit_vector, judge
from catseye.evaluation.familiarity import FamiliarityFit
from catseye.evaluation.measure import MeasuredModel, measure
from catseye.evaluation.rejection import Rejection, choose_threshold, parse_share
from catseye.evaluation.strangers import (
    Strangers,
    familiarity_of,
    judge_strangers,
    learn_familiarity,
    stored_fit,
    training_images,
)
from catseye.files import StrPath
from catseye.manifest import METADATA_KEY, Manifest
from catseye.notebook import Html, html_of
from catseye.runs import Run, open_run, write_json
from catseye.runtimes.loading import open_model
from catseye.tensor_files import read_tensors, write_tensors

LEGEND = (
    "ECE: how far a probability is off on average; Brier: its mean squared error; NLL: minus the logarithm of the true "
    "class's probability, the loss of training; vector scaling: a factor and an offset per class, measured to compare"
)


@dataclass(frozen=True)
class Calibrated:
    """The values chosen on validation images, and their effect on test images.

    `test`, `test_coverage` and `test_risk` are None if there are no test images. `familiarity_threshold` is None if the
    run cannot recognise foreign images; `familiarity_is_new`: it was fitted in this call.
    """

    validation: Calibration
    test: Calibration | None
    rejection: Rejection | None
    test_coverage: float | None
    test_risk: float | None
    strangers: Strangers | None
    familiarity_threshold: float | None = None
    familiarity_is_new: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "validation": self.validation.to_json(),
            "test": self.test.to_json() if self.test else None,
            "rejection": self.rejection.to_json() if self.rejection else None,
            "test_coverage": self.test_coverage,
            "test_risk": self.test_risk,
            "strangers": vars(self.strangers) if self.strangers else None,
            "familiarity_threshold": self.familiarity_threshold,
            "familiarity_is_new": self.familiarity_is_new,
        }

    def _repr_html_(self) -> str:
        return Html("".join(f"<p>{html_of(line)}</p>" for line in self.to_lines()))

    def to_lines(self) -> list[str]:
        """The lines that a terminal shows."""
        count = self.validation.num_images
        temperature = self.validation.temperature
        lines = [f"temperature {temperature:.3f}, from {count:,} validation images"]
        if temperature == 1.0:
            lines = [f"temperature 1: on {count:,} validation images no other value clearly lowers the loss"]
        for name, calibration in (("validation", self.validation), ("test", self.test)):
            if calibration is not None:
                before, after = calibration.before, calibration.after
                vector = f" (vector scaling: {calibration.vector.ece:.2%})" if calibration.vector else ""
                lines.append(
                    f"{name}: ECE {before.ece:.2%} -> {after.ece:.2%}{vector}, "
                    f"Brier {before.brier:.4f} -> {after.brier:.4f}, NLL {before.loss:.4f} -> {after.loss:.4f}"
                )
        lines.append(LEGEND)
        if self.rejection is not None:
            lines.append(self.rejection.to_line())
        if self.familiarity_threshold is not None:
            how = "fitted now to training and validation images" if self.familiarity_is_new else "as the run has it"
            lines.append(
                f"“unknown” below a familiarity (cosine of an image's features to the nearest centre of a class) of "
                f"{self.familiarity_threshold:.4f}, {how}"
            )
        else:
            lines.append("foreign images are not recognised by their features: there are too few training images")
        if self.test_coverage is not None:
            lines.append(f"on test images: {self.test_coverage:.2%} answered, {self.test_risk:.2%} of those wrongly")
        return [*lines, *(self.strangers.to_lines() if self.strangers else [])]


def calibrate(
    run: StrPath,
    *,
    max_risk: float | str | None = None,
    against: Images | None = None,
    data: Images | None = None,
    device: str = "auto",
    data_dir: StrPath | None = None,
) -> Calibrated:
    """Fit a run's temperature on its validation images; store it in its model file.

    With `max_risk`, 0 to 1 or "2%", also the probability below which the answer is "unknown"; without it, none is
    stored. A run without familiarity gets one; an existing one is kept. `against` names foreign images, to measure how
    many are recognised as such. `data` is where the run's images are now, if they were moved. Files exported earlier do
    not change: export again. Writes calibration.json.

    Raises:
        UsageError: the run has no validation images. DataError: they are missing, or `data` holds others.
        CatseyeError: `max_risk` is out of reach.

    """
    opened = open_run(run)
    if isinstance(max_risk, str):
        max_risk = parse_share(max_risk, "--max-risk")
    model = open_model(opened.path, device=device)
    recorded = opened.data["splits"]
    if not recorded.get("val"):
        raise UsageError(
            f"{opened.path} has no validation images to calibrate on; train with data.val_fraction above 0"
        )
    measured = measure(model, data_dir=data_dir, split="val", moved=data)
    validation = measured.outputs
    temperature = fit_temperature(validation.logits, validation.labels)
    vector = fit_vector(validation.logits, validation.labels)
    rejection = None
    if max_risk is not None:
        rejection = choose_threshold(*_confidence(validation.logits, validation.labels, temperature), max_risk)
    stored = fit = stored_fit(model)
    if fit is None and (trained := training_images(model, opened, measured, data_dir)) is not None:  # before 0.2
        manifest = model.manifest
        fit = learn_familiarity(model.layers(), trained, measured.loader, manifest.preprocessing, len(manifest.classes))
    changed = model.manifest.model_copy(
        update={
            "temperature": temperature,
            "unknown_threshold": rejection.threshold if rejection else None,
            "familiarity_threshold": fit.threshold if fit else None,
        }
    )
    test = measure(model, data_dir=data_dir, split="test", moved=data) if recorded.get("test") else None
    held_out = test or measured
    familiarity = familiarity_of(model, held_out.loader, fit) if fit and (test or against is not None) else None
    coverage, risk = _apply(test, changed, familiarity)
    result = Calibrated(
        judge(validation.logits, validation.labels, temperature, vector),
        judge(test.outputs.logits, test.outputs.labels, temperature, vector) if test else None,
        rejection,
        coverage,
        risk,
        None,
        fit.threshold if fit else None,
        fit is not None and stored is None,
    )
    if against is not None:
        own = held_out.outputs.logits, familiarity, "test" if test else "validation"
        result = replace(result, strangers=judge_strangers(model, changed, own, fit, against, data_dir))
    _store(opened, changed, fit if stored is None else None, result)
    return result


def _store(opened: Run, changed: Manifest, new_fit: FamiliarityFit | None, result: Calibrated) -> None:
    """Write the model file with the changed manifest, and calibration.json.

    A new fit is stored in the model file too.
    """
    tensors, _ = read_tensors(opened.model_path)
    if new_fit is not None:
        tensors |= _as_tensors(new_fit)
    write_tensors(opened.model_path, tensors, {METADATA_KEY: changed.to_json()})
    write_json(opened.path / "calibration.json", result.to_json())


def _as_tensors(fit: FamiliarityFit) -> dict[str, torch.Tensor]:
    """The fit under the names that the network saves it with."""
    return {
        "familiarity.scale": torch.from_numpy(fit.scale).contiguous(),
        "familiarity.centres": torch.from_numpy(fit.centres).contiguous(),
    }


def _confidence(logits: Any, labels: Any, temperature: float) -> tuple[Any, Any]:
    probabilities = softmax(logits, temperature)
    return probabilities.max(1), probabilities.argmax(1) == labels


def _apply(
    test: MeasuredModel | None, manifest: Manifest, familiarity: NDArray[Any] | None
) -> tuple[float | None, float | None]:
    """Share of the test images that pass both thresholds, and of errors among them."""
    if test is None or (manifest.unknown_threshold is None and familiarity is None):
        return None, None
    probabilities = softmax(test.outputs.logits, manifest.temperature)
    answered = ~manifest.are_unknown(probabilities, familiarity)
    wrong = probabilities.argmax(1) != test.outputs.labels
    return float(answered.mean()), float(wrong[answered].mean()) if answered.any() else 0.0
