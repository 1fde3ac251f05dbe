"""The terms of the lab, each explained in a sentence or two on hover or focus.

Leaves: `GLOSSARY`, term -> explanation, and `mark_terms`, which turns `[[term]]` and `[[term|the word shown]]` in a
page's text into buttons. Called by page_files. Imports no torch.
"""

import re
from html import escape

from catseye.errors import UnknownName

GLOSSARY = {
    "activation": (
        "A function applied to every value separately, between two layers. Without it, two layers would do no more "
        "than one. Also: one value of a feature map."
    ),
    "alpha": (
        "α, the setting of MixUp and CutMix: λ is drawn from Beta(α, α). Small: mostly one image. Large: half and half."
    ),
    "augmentation": (
        "Changing training images at random in ways that keep their label, so that the network sees more variants "
        "than were collected."
    ),
    "batch norm": (
        "Batch normalisation: subtract the mean of a channel over the batch, divide by its standard deviation, "
        "then scale by γ and shift by β."
    ),
    "beta": "β, the shift of batch normalisation: added after scaling. It is learned, and begins at 0.",
    "channel": "One table of an image or of a feature map. A colour image has three: red, green, blue.",
    "class activation map": "How much each place of the last feature maps supports a class, drawn over the image.",
    "confusion matrix": (
        "A table of counts: rows are the true class, columns the predicted one. Right answers are on the diagonal."
    ),
    "cutmix": "A rectangle of one image is pasted into another; the labels are mixed by area.",
    "dense": (
        "A dense (fully connected) layer: every output is a weighted sum of all inputs, with a weight for each pair."
    ),
    "derivative": (
        "How much the output changes when the input changes a little. Backpropagation multiplies by it, layer by layer."
    ),
    "dilation": "The distance between the values under the window. 1: adjacent. 2: every second one.",
    "epoch": "One pass over all training images.",
    "feature map": "The output of one filter for an image: one value for every place, again a table.",
    "gamma": (
        "γ, the scale of batch normalisation: what the normalised values are multiplied by. It is learned, and "
        "begins at 1."
    ),
    "gradient": (
        "For every weight, how much the loss grows when that weight grows a little. Training steps the other way."
    ),
    "head": "The last part of a network: it turns the feature maps into one number for each class.",
    "initialisation": (
        "How the weights are drawn before training. If they are too small, signals fade; if too large, they explode."
    ),
    "interval": (
        "The 95% confidence interval: with other test images from the same source, such an interval would contain "
        "the true accuracy 19 times out of 20."
    ),
    "kernel": "The small table of weights that slides over the image. One for each input channel makes a filter.",
    "label smoothing": (
        "A small share of the target goes to all classes instead of to the true class only. The training loss "
        "then cannot reach 0."
    ),
    "lambda": "λ, the share of the first image in a mixture; the second has 1 − λ.",
    "learning rate": "How far one step goes against the gradient: the factor of the gradient in plain SGD.",
    "logits": "The network's numbers for the classes before softmax. Any size, any sign; the largest is the answer.",
    "loss": (
        "One number for how wrong the network is; training makes it smaller. Here cross-entropy: −log of the "
        "probability given to the true class."
    ),
    "loss landscape": (
        "The loss as a height over the weights. A network has thousands of weights, so only a slice along two "
        "directions is shown."
    ),
    "mixup": "Two images are blended, and their labels in the same shares.",
    "momentum": (
        "Part of the last step is repeated: small steps in one direction add up, alternating steps cancel out."
    ),
    "multiply-add": "One multiplication and one addition: the unit for the computing cost of a network.",
    "optimizer": "The rule that turns a gradient into a step: SGD, SGD with momentum, Adam …",
    "padding": "Zeros around the image, so that the window also fits at its border.",
    "parameter": "A number that training changes: a weight or a bias.",
    "pooling": (
        "Keeping one number per window, its maximum or its mean: the map shrinks, and small shifts matter less."
    ),
    "receptive field": "The part of the image that one value of a layer can depend on.",
    "seed": "The number that determines all random choices. The same seed gives the same run.",
    "skip": "A connection around some layers: their input is added to their output.",
    "softmax": "Turns logits into probabilities: e to the power of each, divided by their sum.",
    "stride": "How far the window moves from one place to the next.",
    "temperature": (
        "The number that logits are divided by before softmax, so that answers with 80% are right 80 times in 100. It "
        "is fitted on validation images and changes only the confidence, not the answer."
    ),
    "top-1": "The share of images whose most likely class is the true one.",
    "translation": (
        "Moving an image without changing it otherwise. The map of a convolution moves with it (equivariance); "
        "averaging over all places then gives the same answer (invariance)."
    ),
    "validation": (
        "Images that are not trained on but used to choose among runs and epochs; the test images are used only "
        "once, at the end."
    ),
    "weight sharing": "One kernel for all places, instead of a weight for every place.",
}
_MARK = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")


def mark_terms(text: str) -> str:
    """HTML with `[[term]]` and `[[term|word]]` as buttons that explain the term.

    Raises:
        UnknownName: the glossary has no such term.

    >>> mark_terms("its [[gamma|γ]]")
    'its <button type="button" class="term" data-term="gamma" aria-describedby="word-gamma">γ</button>'

    """
    return _MARK.sub(lambda match: _button(match[1], match[2] or match[1]), text)


def terms_of(text: str) -> set[str]:
    """The terms that a page marks."""
    return {match[1] for match in _MARK.finditer(text)}


def words_list(terms: "list[str]") -> str:
    """The explanations as a list at the foot of a page, for the buttons."""
    rows = (f'<dt>{escape(term)}</dt><dd id="{_id(term)}">{escape(explanation(term))}</dd>' for term in sorted(terms))
    return f"<dl>{''.join(rows)}</dl>"


def _button(term: str, word: str) -> str:
    explanation(term)
    return (
        f'<button type="button" class="term" data-term="{escape(term)}" aria-describedby="{_id(term)}">{word}</button>'
    )


def explanation(term: str) -> str:
    """What a term means.

    Raises:
        UnknownName: the glossary has no such term.

    """
    if term not in GLOSSARY:
        raise UnknownName("term of the lab", term, GLOSSARY)
    return GLOSSARY[term]


def _id(term: str) -> str:
    return f"word-{term.replace(' ', '-')}"
