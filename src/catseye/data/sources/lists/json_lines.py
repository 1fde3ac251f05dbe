"""A list of images as JSON Lines, read as the rows of a table.

Enters: the bytes of a .jsonl, such as the metadata.jsonl of a Hugging Face image folder. Leaves: line numbers and
cells, the names of the columns first. Called by table.py and remote.py.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from catseye.errors import DataError

NAMING_LINES = 500  # first lines whose keys are the columns
MOST_LINE_BYTES = 10_000_000


def read_json_rows(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every non-empty line, after a row of column names.

    `opened("rb")` opens the file, `path` is its name in messages. A missing key is an empty cell; lists and objects
    stay JSON.

    Raises:
        DataError: a line is not a JSON object, or the file cannot be read.

    """
    names: dict[str, None] = {}
    for number, (_, fields) in enumerate(_objects(opened, path)):
        names.update(dict.fromkeys(fields))
        if number + 1 == NAMING_LINES:
            break
    if not names:
        raise DataError(
            f'{path} lists no images; each line is an object such as {{"file_name": "a.jpg", "label": "x"}}'
        )
    yield 1, list(names)
    for line, fields in _objects(opened, path):
        yield line, [_json_cell(fields.get(name)) for name in names]


def _objects(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with opened("rb") as stream:
            for line, content in enumerate(iter(lambda: stream.readline(MOST_LINE_BYTES), b""), 1):
                text = content.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                if not text:
                    continue
                fields = json.loads(text)
                if not isinstance(fields, dict):
                    raise DataError(f"{path}: line {line} should be a JSON object; got {text[:40]}")
                yield line, fields
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as JSON Lines in UTF-8, one object a line ({reason})") from None


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
