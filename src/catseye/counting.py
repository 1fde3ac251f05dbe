"""Counts that agree with their nouns ("1 image", "2 images"); shortened names.

Used for every text that people read.
"""


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun; `plural` if English has no rule for it.

    >>> count(1, "image"), count(2, "image"), count(0, "class"), count(12_000, "copy")
    ('1 image', '2 images', '0 classes', '12,000 copies')
    """
    return f"{number:,} {noun if number == 1 else plural or _plural(noun)}"


def shortened(text: str, width: int) -> str:
    """A name of at most `width` characters.

    Both ends are kept, because they distinguish it from others.

    >>> shortened("timm:tf_efficientnet_lite0", 16), shortened("conv1", 16)
    ('timm:tf_…t_lite0', 'conv1')
    """
    if len(text) <= width:
        return text
    front = max(1, width // 2)
    return f"{text[:front]}…{text[len(text) - max(0, width - front - 1) :]}" if width > 1 else "…"


def agree(number: int, singular: str, plural: str) -> str:
    """The form that agrees with the number, usually of a verb.

    >>> agree(1, "has", "have"), agree(3, "has", "have")
    ('has', 'have')
    """
    return singular if number == 1 else plural


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
