"""What a headline says before the score: that it is not above guessing, or that its images trained the model.

Enters: `Metrics`. Leaves: a verdict and sentences. Called by the command line, for the headline, and by the report.
"""

from catseye.counting import agree, count
from catseye.evaluation.metrics import Metrics
from catseye.evaluation.statistics import mcnemar

SURE = 0.05


def beats_guessing(metrics: Metrics) -> bool:
    """Whether accuracy is above that of the constant guess: by its interval, or by McNemar's test on the same images.

    The test is the finer one where one class has nearly all images: there the interval of a perfect score may well
    reach below the guess.
    """
    if metrics.accuracy_low > metrics.constant_guess:
        return True
    confusion = metrics.confusion
    commonest = int(confusion.sum(1).argmax())
    guess_only = int(confusion[commonest].sum() - confusion[commonest, commonest])
    model_only = int(confusion.trace() - confusion[commonest, commonest])
    return model_only > guess_only and mcnemar(model_only, guess_only) < SURE


def guessing_sentence(metrics: Metrics) -> str:
    """What the headline says where nothing is shown to be learnt; empty where it is."""
    if beats_guessing(metrics):
        return ""
    commonest = max(metrics.per_class, key=lambda name: metrics.per_class[name].support)
    rest = metrics.num_images - metrics.per_class[commonest].support
    sentence = f"not above always answering {commonest!r}, which is right for {metrics.constant_guess:.2%}"
    if metrics.accuracy > metrics.constant_guess and rest < 20:
        images = f"{rest} held-out image{'' if rest == 1 else 's'}"
        return f"{sentence}: {images} of all other classes are too few to tell"
    return sentence


def trained_on_sentence(trained_on: int, num_images: int) -> str:
    """What the headline says where images of the score also trained the model; empty where none did.

    >>> trained_on_sentence(30, 40), trained_on_sentence(0, 40)
    ('trained on 30 of these 40 images, so the score is too high', '')
    """
    if not trained_on:
        return ""
    these = f"{agree(num_images, 'this', 'these')} {count(num_images, 'image')}"
    return f"trained on {trained_on:,} of {these}, so the score is too high"
