"""A list of images as JSON Lines, one object a line, read as the rows of a table.

Enters: the bytes of a .jsonl, such as the metadata.jsonl of a Hugging Face image folder. Leaves: line numbers and
cells, the names of the columns first. Called by table.py and remote.py.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from catseye.errors import DataError

NAMING_LINES = 500  # the columns are the keys of so many first lines
MOST_LINE_BYTES = 10_000_000


def read_json_rows(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty, behind a first row of the columns' names.

    `opened("rb")` gives the bytes; `path` is what the list is called. What a line does not name is an empty cell;
    lists and objects stay JSON.

    Raises:
        DataError: a line is no JSON object, or the file cannot be read.

    """
    names: dict[str, None] = {}
    for number, (_, found) in enumerate(_objects(opened, path)):
        names.update(dict.fromkeys(found))
        if number + 1 == NAMING_LINES:
            break
    if not names:
        raise DataError(
            f'{path} lists no images; each line is an object such as {{"file_name": "a.jpg", "label": "x"}}'
        )
    yield 1, list(names)
    for line, found in _objects(opened, path):
        yield line, [_json_cell(found.get(name)) for name in names]


def _objects(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with opened("rb") as stream:
            for line, content in enumerate(iter(lambda: stream.readline(MOST_LINE_BYTES), b""), 1):
                text = content.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                if not text:
                    continue
                found = json.loads(text)
                if not isinstance(found, dict):
                    raise DataError(f"{path}: line {line} should be a JSON object; got {text[:40]}")
                yield line, found
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as JSON Lines in UTF-8, one object a line ({reason})") from None


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
