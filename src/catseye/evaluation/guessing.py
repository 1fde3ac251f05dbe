"""The warnings about a score: not above guessing, or on training images.

Enters: `Metrics`. Leaves: a verdict and sentences. Called by the command line and by the report.
"""

from catseye.counting import agree, count
from catseye.evaluation.metrics import Metrics
from catseye.evaluation.statistics import mcnemar

SURE = 0.05
FEW = 20  # held-out images of all classes but the commonest


def beats_guessing(metrics: Metrics) -> bool:
    """Whether accuracy is above that of the constant guess.

    It is tested by its interval, or by McNemar's test on the same images. The second test is more sensitive if one
    class has nearly all images: the interval of even a perfect score may then reach below the guess.
    """
    if metrics.accuracy_low > metrics.constant_guess:
        return True
    confusion = metrics.confusion
    commonest = int(confusion.sum(1).argmax())
    guess_only = int(confusion[commonest].sum() - confusion[commonest, commonest])
    model_only = int(confusion.trace() - confusion[commonest, commonest])
    return model_only > guess_only and mcnemar(model_only, guess_only) < SURE


def too_few_to_decide(metrics: Metrics) -> bool:
    """Whether more held-out images could show that the model is better than guessing."""
    few = _num_others(metrics) < FEW
    return few and metrics.accuracy > metrics.constant_guess and not beats_guessing(metrics)


def _num_others(metrics: Metrics) -> int:
    """The images of all classes but the commonest."""
    return metrics.num_images - max(scores.support for scores in metrics.per_class.values())


def guessing_sentence(metrics: Metrics) -> str:
    """The warning for a model not shown to be better than guessing; else empty."""
    if beats_guessing(metrics):
        return ""
    commonest = max(metrics.per_class, key=lambda name: metrics.per_class[name].support)
    sentence = f"not above always answering {commonest!r}, which is right for {metrics.constant_guess:.2%}"
    if too_few_to_decide(metrics):
        rest = _num_others(metrics)
        images = f"{rest} held-out image{'' if rest == 1 else 's'}"
        return f"{sentence}: {images} of all other classes are too few to decide"
    return sentence


def trained_on_sentence(trained_on: int, num_images: int) -> str:
    """The warning that images in the score also trained the model; empty if none did.

    >>> trained_on_sentence(30, 40), trained_on_sentence(0, 40)
    ('trained on 30 of these 40 images, so the score is too high', '')
    """
    if not trained_on:
        return ""
    these = f"{agree(num_images, 'this', 'these')} {count(num_images, 'image')}"
    return f"trained on {trained_on:,} of {these}, so the score is too high"
