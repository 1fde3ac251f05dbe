"""Counts that agree with their nouns: "1 image", "2 images". Used by whatever writes sentences."""


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun; `plural` where English has no rule for it.

    >>> count(1, "image"), count(2, "image"), count(0, "class"), count(12_000, "copy")
    ('1 image', '2 images', '0 classes', '12,000 copies')
    """
    return f"{number:,} {noun if number == 1 else plural or _plural(noun)}"


def agree(number: int, one: str, many: str) -> str:
    """The word that goes with the number, a verb as a rule.

    >>> agree(1, "has", "have"), agree(3, "has", "have")
    ('has', 'have')
    """
    return one if number == 1 else many


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
