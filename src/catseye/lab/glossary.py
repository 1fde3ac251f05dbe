"""The terms of the lab, each explained in a sentence or two: shown beside the word, by pointer and by keyboard.

Leaves: `GLOSSARY`, term -> explanation, and `mark_terms`, which turns `[[term]]` and `[[term|the word shown]]` in a
page's own text into buttons. Called by page_files. Imports no torch.
"""

import re
from html import escape

from catseye.errors import UnknownName

GLOSSARY = {
    "activation": (
        "A function applied to every value alone, between two layers. Without one, two layers would be no more "
        "than one. Also: one value of a feature map."
    ),
    "alpha": (
        "α, the setting of MixUp and CutMix: λ is drawn from Beta(α, α). Small: nearly one image. Large: half and half."
    ),
    "augmentation": (
        "Changing training images at random in ways that keep their label, so that the network sees more than was "
        "collected."
    ),
    "batch norm": (
        "Batch normalisation: subtract the mean of a channel over the batch, divide by its standard deviation, "
        "then scale by γ and shift by β."
    ),
    "beta": "β, the shift of batch normalisation: added after scaling. It is learned, and begins at 0.",
    "channel": "One table of an image or of a feature map. A colour image has three: red, green, blue.",
    "class activation map": "How much each place of the last feature maps speaks for one class, laid over the image.",
    "confusion matrix": (
        "A table of counts: rows are the true class, columns the predicted one. What is right lies on the diagonal."
    ),
    "cutmix": "A rectangle of one image is put into another; the labels are mixed by area.",
    "dense": (
        "A dense (fully connected) layer: every output is a weighted sum of all inputs, with a weight for each pair."
    ),
    "derivative": (
        "How much the output changes when the input changes a little. Learning multiplies by it, layer by layer."
    ),
    "dilation": "How far apart the values under the window lie. 1: side by side. 2: every second one.",
    "epoch": "One pass over all training images.",
    "feature map": "What one filter makes of an image: its answer at every place, again a table.",
    "gamma": (
        "γ, the scale of batch normalisation: what the normalised values are multiplied by. It is learned, and "
        "begins at 1."
    ),
    "gradient": (
        "For every weight, how much the loss grows when that weight grows a little. Training goes the other way."
    ),
    "head": "The last part of a network: it turns the feature maps into one number for each class.",
    "initialisation": (
        "How the weights are drawn before training. Too small and signals die out, too large and they grow."
    ),
    "interval": (
        "The 95 % confidence interval: with other test images from the same source, the accuracy would lie in "
        "such a range 19 times out of 20."
    ),
    "kernel": "The small table of weights that slides over the image. One for each input channel makes a filter.",
    "label smoothing": (
        "Instead of all for the true class, a small share of the target goes to all classes. The training loss "
        "can then not reach 0."
    ),
    "lambda": "λ, the share of the first image in a mixture; the second has 1 − λ.",
    "learning rate": "How far one step goes against the gradient.",
    "logits": "The network's numbers for the classes before softmax. Any size, any sign; the largest is the answer.",
    "loss": (
        "One number for how wrong the network is; training makes it smaller. Here cross-entropy: −log of the "
        "probability given to the true class."
    ),
    "loss landscape": (
        "The loss as a height over the weights. A network has thousands of weights, so one looks at a slice along "
        "two directions."
    ),
    "mixup": "Two images blended, and their labels in the same shares.",
    "momentum": (
        "Part of the last step is taken again: small steps in one direction add up, those to and fro cancel out."
    ),
    "multiply-add": "A multiplication and an addition, the unit in which a network's computing is counted.",
    "optimizer": "The rule that makes a step out of a gradient: SGD, SGD with momentum, Adam …",
    "padding": "Zeros put around the image, so that the window also fits at its border.",
    "parameter": "A number that training changes: a weight or a bias.",
    "pooling": (
        "Keeping one number of each window, its largest or its mean: the map shrinks, small shifts matter less."
    ),
    "receptive field": "The part of the image that one value of a layer can depend on.",
    "seed": "The number from which all random choices follow. The same seed gives the same run.",
    "skip": "A connection past some layers: their input is added to their output.",
    "softmax": "Turns logits into probabilities: e to the power of each, divided by their sum.",
    "stride": "How far the window moves from one place to the next.",
    "temperature": (
        "What logits are divided by before softmax, so that a stated 80 % is right 80 times in 100. It is fitted "
        "on validation images and changes no answer, only how sure it is."
    ),
    "top-1": "The share of images whose most likely class is the true one.",
    "translation": (
        "Moving an image without changing it otherwise. A convolution moves its map along (equivariance); "
        "averaging over all places then gives the same answer (invariance)."
    ),
    "validation": (
        "Images that are kept out of training and used to choose among runs and epochs; the test images are used "
        "once, at the end."
    ),
    "weight sharing": "One kernel for all places, instead of a weight for every place.",
}
_MARK = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")


def mark_terms(text: str) -> str:
    """HTML with `[[term]]` and `[[term|word]]` as buttons that tell what the term means.

    Raises:
        UnknownName: the glossary has no such term.

    >>> mark_terms("its [[gamma|γ]]")
    'its <button type="button" class="term" data-term="gamma" aria-describedby="word-gamma">γ</button>'

    """
    return _MARK.sub(lambda found: _button(found[1], found[2] or found[1]), text)


def terms_of(text: str) -> set[str]:
    """The terms that a page marks."""
    return {found[1] for found in _MARK.finditer(text)}


def words_list(terms: "list[str]") -> str:
    """The explanations as a list, which a page has at its foot; the buttons are described by its entries."""
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
