"""The rows of a .csv or .tsv, whatever its delimiter and encoding.

Enters: the bytes of a file. Leaves: line numbers and cells. Called by table.py and text_rows.py.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from catseye.errors import DataError

DELIMITERS = (",", ";", "\t", "|")


def read_csv_rows(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty, including the first one.

    `opened("rb")` opens the file, `path` is its name in messages.

    Raises:
        DataError: it is not a CSV in UTF-8 or UTF-16.

    """
    try:
        with opened("rb") as raw:
            encoding = encoding_of_list(raw.read(4096))
        with opened("rb") as whole, io.TextIOWrapper(whole, encoding=encoding, newline="") as stream:
            head = stream.readline()
            separator = re.fullmatch(r"sep=(.)\s*", head.lstrip("\ufeff"))  # the first line of some Excel files
            delimiter = separator.group(1) if separator else _delimiter_of_list(head, path)
            skipped = int(bool(separator))
            if not separator:
                stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num + skipped, row
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as UTF-8 CSV ({error}); in Excel, save it as 'CSV UTF-8'; quotes come in pairs"
        ) from None


def encoding_of_list(head: bytes) -> str:
    """UTF-8, or UTF-16 (from tools on Windows) by its byte order mark or zeros."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if 3 * head[1::2].count(0) > len(head[1::2]):
        return "utf-16-le"
    if 3 * head[::2].count(0) > len(head[::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _delimiter_of_list(head: str, path: str) -> str:
    """The most frequent delimiter of the first line; else a comma (.tsv: a tab)."""
    bare = re.sub(r'"[^"]*"', "", head)
    counts = {delimiter: bare.count(delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    if counts[best]:
        return best
    return "\t" if path.lower().endswith(".tsv") else ","
