"""The rows of a .txt with `path label` on each line.

ImageNet and many training programs have such lists. Enters: the bytes of a file. Leaves: line numbers and cells. Called
by table.py, lists_beside.py and listed_images.py.
"""

import io
import re
from collections.abc import Callable, Iterator
from itertools import dropwhile
from typing import Any

from catseye.data.sources.lists.csv_rows import DELIMITERS, encoding_of_list, read_csv_rows
from catseye.errors import DataError
from catseye.preprocess import FILE_SUFFIXES

_SUFFIXES = "|".join(re.escape(suffix[1:]) for suffix in sorted(FILE_SUFFIXES))
# Paths and labels may both contain spaces: a path ends with the suffix of an image.
_ROW = re.compile(rf"(?P<path>.*?\.(?:{_SUFFIXES}))[\"']?\s+(?P<label>\S.*)", re.IGNORECASE)
_NUMBERS = re.compile(r"\S+(?:\s+-?\d+){2,}")  # Abyssinian_100 1 1 1


def read_text_rows(
    opened: Callable[[str], Any], path: str, *, labelled: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty.

    Comments (#) may come first. Several numbers behind a path without a suffix are columns. A file whose first line is
    delimited by commas, semicolons or tabs is read as a CSV. `opened("rb")` opens the file, `path` is its name in
    messages. A line may be a path alone if it need not be `labelled`.

    Raises:
        DataError: it is not text, or a line has no label.

    """
    try:
        with opened("rb") as raw:
            head = raw.read(4096)
        if _is_delimited(_text_of_first_line(head)):
            yield from read_csv_rows(opened, path)
            return
        with opened("rb") as whole, io.TextIOWrapper(whole, encoding=encoding_of_list(head)) as stream:
            rows = ((number, line.strip()) for number, line in enumerate(stream, start=1) if line.strip())
            for number, line in dropwhile(lambda row: _is_comment(row[1]), rows):
                yield number, _cells(line, path, number, labelled)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8 ({error})") from None


def lists_images(head: bytes) -> bool:
    r"""Whether a text file begins with the path of an image and a label.

    >>> [lists_images(head) for head in (b"a b/1.jpg 0\n", b"1.png cat", b"cat\ndog\n", b"see 1.jpg\n")]
    [True, True, False, False]
    """
    return _ROW.fullmatch(_text_of_first_line(head)) is not None


def _text_of_first_line(head: bytes) -> str:
    return head.decode(encoding_of_list(head), errors="replace").lstrip("\ufeff").partition("\n")[0].strip()


def _is_delimited(line: str) -> bool:
    """Whether a line is that of a CSV.

    It has a delimiter, and not only in a path that is followed by a label.
    """
    match = _ROW.fullmatch(line)
    return any(delimiter in (match["label"] if match else line) for delimiter in DELIMITERS)


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not _ROW.fullmatch(line)


def _cells(line: str, path: str, number: int, labelled: bool) -> list[str]:
    if match := _ROW.fullmatch(line):
        return [match["path"].strip("\"'"), match["label"]]
    if not labelled and line.lower().strip("\"'").endswith(tuple(FILE_SUFFIXES)):
        return [line.strip("\"'")]  # the path may contain spaces
    cells = line.split() if _NUMBERS.fullmatch(line) else line.rsplit(maxsplit=1)
    if labelled and len(cells) < 2:
        raise DataError(
            f"{path} line {number}: every line of a .txt is an image and its label, as in cats/1.jpg cat; got {line!r}"
        )
    return cells
