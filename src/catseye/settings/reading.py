"""How DATA is read, as options that `check` and `train` share.

The options are the same in Python and on the command line.

Enters: options as they were given. Leaves: settings keyed by dotted names. No torch.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from catseye.errors import UsageError

LAYOUTS = ("auto", "splits", "classes", "names")
# Short names for the columns of a data frame, `train(df, path="file", label="y")`.
SHORT_NAMES = {"path": "image_column", "label": "label_column", "split": "split_column", "group": "group_column"}


class ReadingOptions(TypedDict, total=False):
    """How DATA is read; `path`, `label`, `split`, `group` are short for the columns."""

    layout: str
    image_column: str
    label_column: str
    split_column: str
    group_column: str
    path: str
    label: str
    split: str
    group: str


def reading_values(options: Mapping[str, Any]) -> dict[str, object]:
    """The settings of the given options that say how DATA is read.

    Raises:
        UsageError: there is no such layout, or a column is named twice.

    >>> reading_values({"layout": "auto", "label": "species"})
    {'data.label_column': 'species'}

    """
    layout = options.get("layout", "auto")
    if layout not in LAYOUTS:
        raise UsageError(f"--layout is auto, splits, classes or names; got {layout!r}")
    given: dict[str, object] = {} if layout == "auto" else {"data.layout": layout}
    for short, name in SHORT_NAMES.items():
        values = [value for value in (options.get(short), options.get(name)) if value]
        if len(values) == 2:
            raise UsageError(f"{short} is short for {name}; got {values[0]!r} and {values[1]!r}; leave one of them out")
        if values:
            given[f"data.{name}"] = values[0]
    return given
