"""Tables and numbers as Markdown."""

from collections.abc import Iterable, Sequence

NUM_DIGITS = 4


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. The cells are Markdown already.

    >>> print(table(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"|{'|'.join(line)}|\n" if line[0] == "---" else f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    r"""Text as code, safe in a cell.

    >>> code("a|b")
    '`a\\|b`'
    """
    return f"`{text}`".replace("|", r"\|") if text and "`" not in text else escape(text)


def escape(text: str) -> str:
    r"""Text with the characters escaped that mean something to Markdown.

    >>> escape("__main__ | <a>")
    '\\_\\_main\\_\\_ \\| \\<a\\>'
    """
    return "".join(f"\\{character}" if character in r"\`*_{}[]<>|#" else character for character in text)


def number(value: float) -> str:
    """A number with four significant digits, and commas between thousands.

    >>> [number(each) for each in (0.9883008, 60000, 2134.93, 1.5e-7, 0.0, 2)]
    ['0.9883', '60,000', '2,135', '1.5e-07', '0', '2']
    """
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{NUM_DIGITS}g}"
