"""The recipe `auto`: how to train on these images, on this machine, and why.

Enters: `Facts`. Leaves: a `Choice`: a recipe, the settings changed for these images, and one sentence that says what is
done and why. Called by session.py before an image is decoded. docs/auto.md has a paragraph per decision.

Image sizes and weights decide whether trials (trials/) do the rest. If the user prescribes how to train, or several
processes train one network, the number of images decides. Similarity to ImageNet does not: the measure in transfer.py
rates x-rays as similar to photographs and photographs of hands as different from them.
"""

import math
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Literal

from catseye.models.pretrained import DEFAULT_BACKBONE
from catseye.models.stems import SMALL_PX
from catseye.settings.schema import Settings
from catseye.settings.typed import say_duration

Device = Literal["cpu", "gpu"]

INSTALL_LINE = "pip install 'catseye[pretrained]'"
ENOUGH_TO_TUNE = 1_000  # training images: with fewer, tuning the weights gained nothing beyond noise
ENOUGH_TO_TUNE_ALL = 5_000
PATIENCE_S = 600.0  # the longest forecast for which fine-tuning is chosen
TUNED_PER_S: dict[Device, float] = {"cpu": 8.0, "gpu": 300.0}  # images a second, per core or per GPU, with the default
TUNED_EPOCHS = 30
UNEVEN = 10  # largest class over smallest: from here on all classes weigh the same
LEAST_STEPS = 400  # updates that fresh weights need to learn a small set
LEAST_BATCHES = 20  # per epoch: sets the batch size of a small set
MOST_EPOCHS = 60
# Small images are enlarged for published weights if that takes at most about a minute.
ENLARGED_PX = 160
LEGIBLE_PX = 24
ENLARGED_PER_S: dict[Device, float] = {"cpu": 40.0, "gpu": 1_500.0}  # images a second, per core or per GPU
ENLARGED_WAIT_S = 60.0
ENLARGED_SHARE = 0.4  # of the time limit


@dataclass(frozen=True)
class Facts:
    """The basis of a choice.

    `weights`: where those of the default backbone are; empty if not here.

    `fresh_because`: the user's wish that rules out published weights, worded to follow "because".
    `by_epochs_because`: what rules out trials, worded likewise. `promised_s`: --time.
    """

    num_training: int
    num_classes: int
    rarest: int  # training images of the smallest class; `commonest`: of the largest
    commonest: int
    side_px: float  # of a typical image, or of the input that the user set
    weights: str
    device: Device = "cpu"
    num_cores: int = 1
    fresh_because: str = ""
    by_epochs_because: str = ""
    promised_s: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The result: `values` replace settings of the recipe, by dotted name.

    `offer` is a better way, or empty.
    """

    recipe: str
    sentence: str
    values: dict[str, Any] = field(default_factory=dict)
    offer: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, for the run's auto.json."""
        return dict(vars(self))


def choose_way(facts: Facts) -> Choice:
    """The training method for these facts.

    >>> facts = Facts(240, 2, 110, 130, side_px=450, weights="PyPI package")
    >>> choose_way(facts).values["transfer.strategy"]
    'trials'

    """
    small = facts.side_px <= SMALL_PX
    usable = bool(facts.weights) and not facts.fresh_because
    if usable and not facts.by_epochs_because and (not small or _worth_enlarging(facts)):
        choice = _trials(facts)
    elif small:
        choice = _small_network(facts)
    elif usable:
        choice = _published_weights(facts)
    else:
        choice = _photo_network(facts)
    if facts.promised_s and choice.recipe != "transfer":
        sentence = f"trials for {say_duration(facts.promised_s)} of "
        choice = Choice(choice.recipe, sentence + _without_epochs(choice.sentence), choice.values, choice.offer)
    if facts.commonest >= UNEVEN * facts.rarest:
        values = {**choice.values, "training.class_weights": "balanced", "training.best_by": "macro_f1"}
        if choice.recipe == "transfer":  # the last weights are kept, so that nothing is chosen
            del values["training.best_by"]
        sentence = f"{choice.sentence}; each class weighs the same, since the largest has {facts.commonest:,} images "
        choice = Choice(choice.recipe, f"{sentence}and the smallest {facts.rarest:,}", values, choice.offer)
    return choice


def _worth_enlarging(facts: Facts) -> bool:
    """Whether small images are legible and few enough for published weights."""
    rate = ENLARGED_PER_S[facts.device] * (facts.num_cores if facts.device == "cpu" else 1)
    allowed = ENLARGED_SHARE * facts.promised_s if facts.promised_s else ENLARGED_WAIT_S
    return facts.side_px >= LEGIBLE_PX and facts.num_training / rate <= allowed


def _trials(facts: Facts) -> Choice:
    """Features and a head first; other trials must beat them on held-out images."""
    name = DEFAULT_BACKBONE.partition(":")[2]
    how = f"for {say_duration(facts.promised_s)}" if facts.promised_s else "while they may improve it"
    values: dict[str, Any] = {"transfer.strategy": "trials"}
    small = ""
    if facts.side_px <= SMALL_PX:
        values["data.input_px"] = ENLARGED_PX
        small = f" enlarged to {ENLARGED_PX} px"
    return Choice(
        "transfer",
        f"published weights of {name} ({facts.weights}), a head on their frozen features first, then other methods "
        f"{how}, because only trials show what suits {facts.num_training:,} training images of about "
        f"{facts.side_px:.0f} px{small}",
        values,
    )


def _without_epochs(sentence: str) -> str:
    """A sentence about fixed epochs, for a search that chooses them itself."""
    return re.sub(r", \d+ epochs in batches of \d+", "", sentence)


def _small_network(facts: Facts) -> Choice:
    """The settings of `quick`, scaled to a set of any size.

    Its learning rate of 0.1 is for batches of 128.
    """
    batch_size, epochs = batch_and_epochs(facts.num_training, largest=128, epochs=10)
    values = {"training.batch_size": batch_size, "training.epochs": epochs, "training.lr": 0.1 * batch_size / 128}
    return Choice(
        "quick",
        f"a small network from fresh weights, {epochs} epochs in batches of {batch_size}, because images of "
        f"{facts.side_px:.0f} px show less detail than published weights were trained on",
        values,
    )


def _published_weights(facts: Facts) -> Choice:
    name = DEFAULT_BACKBONE.partition(":")[2]
    seconds = forecast_tuning_s(facts)
    images = f"{facts.num_training:,} training images of about {facts.side_px:.0f} px"
    if facts.num_training >= ENOUGH_TO_TUNE and seconds <= PATIENCE_S:
        everything = facts.num_training > ENOUGH_TO_TUNE_ALL
        stages = "all stages" if everything else "the last stages"
        values = {"transfer.strategy": "full" if everything else "fine-tune"}
        if not everything:
            values["transfer.stages"] = 2  # type: ignore[assignment]
        return Choice(
            "transfer",
            f"published weights of {name} ({facts.weights}), {stages} tuned at a low rate, because {images} are "
            f"enough for that and it takes about {say_duration(seconds)} here",
            values,
        )
    why = "are too few to change the weights"
    offer = ""
    if facts.num_training >= ENOUGH_TO_TUNE:
        why = f"would take about {say_duration(seconds)} to tune the weights on {_cores_in_words(facts)}"
        offer = "to tune the last stages anyway: --pretrained --strategy fine-tune"
    return Choice(
        "transfer",
        f"frozen features of published weights of {name} ({facts.weights}) and a new head on them, "
        f"because {images} {why}",
        {"transfer.strategy": "feature-extraction"},
        offer,
    )


def _photo_network(facts: Facts) -> Choice:
    batch_size, epochs = batch_and_epochs(facts.num_training, largest=32, epochs=20)
    values = {
        "training.batch_size": batch_size,
        "training.epochs": epochs,
        # Adam's steps do not grow with the gradient: the rate follows the square root of the batch size.
        "training.lr": round(1e-3 * math.sqrt(batch_size / 16), 6),
    }
    because = facts.fresh_because or "no published weights are on this machine"
    offer = "" if facts.fresh_because else f"published weights learn far more from few images: {INSTALL_LINE}"
    return Choice(
        "photos",
        f"a network with batch norm from fresh weights, {epochs} epochs in batches of {batch_size}, because {because}",
        values,
        offer,
    )


def batch_and_epochs(num_training: int, *, largest: int, epochs: int) -> tuple[int, int]:
    """A batch size for 20 batches per epoch, and the epochs for 400 updates.

    The batch size is a power of two from 8 to `largest`.
    """
    wanted = max(1, num_training // LEAST_BATCHES)
    batch_size = min(largest, max(8, 2 ** math.floor(math.log2(wanted))))
    steps = max(1, num_training // batch_size)
    return batch_size, min(MOST_EPOCHS, max(epochs, math.ceil(LEAST_STEPS / steps)))


def forecast_tuning_s(facts: Facts) -> float:
    """Seconds that fine-tuning the default backbone would take here."""
    rate = TUNED_PER_S[facts.device] * (facts.num_cores if facts.device == "cpu" else 1)
    return facts.num_training * TUNED_EPOCHS / rate


def _cores_in_words(facts: Facts) -> str:
    return "this GPU" if facts.device == "gpu" else f"{facts.num_cores} core{'' if facts.num_cores == 1 else 's'}"


def next_thing(settings: Settings, data: str, input_px: int, *, too_few: bool = False) -> str:
    """What to try after a run that is no better than guessing.

    `too_few`: it seems better, but too few images were held out to show it.
    """
    if too_few:
        return (
            "more images of the smaller classes: a share of them is held out, and only those can show what was learnt"
        )
    check = f"catseye check {shlex.quote(data)} shows whether labels match the images"
    strategy = settings.transfer.strategy
    if strategy == "none" and input_px > SMALL_PX:
        return f"--pretrained starts from published weights ({INSTALL_LINE}); {check}"
    if strategy in ("auto", "feature-extraction"):
        return f"{check}; --pretrained --strategy fine-tune changes the weights too"
    if strategy == "trials" or settings.training.time_s:
        return f"{check}; --time 10m tries more"
    return f"{check}; --epochs {3 * settings.training.epochs} trains for longer"
