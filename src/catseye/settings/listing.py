"""Every setting as a row: key, default, range, meaning; from the schema itself.

Enters: nothing. Leaves: rows. Called by `catseye settings`, by the completion of `--set` and by the documents.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from catseye.settings.schema import Settings, SettingsTable


@dataclass(frozen=True)
class SettingRow:
    """One setting. `default` as it is written in TOML; empty if nothing is set."""

    key: str
    default: str
    values: str
    meaning: str

    def to_json(self) -> dict[str, str]:
        """As plain JSON types."""
        return asdict(self)


def list_settings(group: str = "") -> list[SettingRow]:
    """All settings in the order of the schema, or those of one table.

    >>> [row for row in list_settings("training") if row.key == "training.epochs"][0].values
    'whole number, 1 – 100,000'
    """
    rows = []
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, SettingsTable):
            rows += [_setting_row(f"{name}.{key}", inner) for key, inner in kind.model_fields.items()]
        elif name != "recipe":
            rows.append(_setting_row(name, field))
    return [row for row in rows if not group or row.key.partition(".")[0] == group]


def setting_groups() -> list[str]:
    """The tables of the settings file."""
    return list(dict.fromkeys(row.key.partition(".")[0] for row in list_settings()))


def _setting_row(key: str, field: FieldInfo) -> SettingRow:
    values = " or ".join(dict.fromkeys(_kinds(field.annotation, field.metadata)))
    return SettingRow(key, _as_toml(field.default), values, field.description or "")


def _kinds(kind: Any, limits: list[Any]) -> list[str]:
    if get_origin(kind) is Literal:
        return [", ".join(map(str, get_args(kind)))]
    inner, *marks = get_args(kind) if hasattr(kind, "__metadata__") else (kind,)
    if hasattr(kind, "__metadata__"):
        return _kinds(inner, [*limits, *(each for mark in marks for each in getattr(mark, "metadata", [mark]))])
    parts = [each for each in get_args(kind) if each is not type(None)]
    if parts:
        return [word for each in parts for word in _kinds(each, limits)]
    names = {int: "whole number", float: "number", str: "text", bool: "true, false"}
    return [names[kind] + _range(limits) if kind in (int, float) else names[kind]]


def _range(limits: list[Any]) -> str:
    low = next((each for each in limits if isinstance(each, Ge | Gt)), None)
    high = next((each for each in limits if isinstance(each, Le | Lt)), None)
    above = isinstance(low, Gt)
    first = None if low is None else low.gt if isinstance(low, Gt) else low.ge
    last = None if high is None else high.lt if isinstance(high, Lt) else high.le
    if first is None:
        return "" if last is None else f", at most {last:,}"
    if last is None:
        return f", above {first:,}" if above else f", {first:,} or more"
    bounds = f"above {first:,}, " if above else f"{first:,} – "
    ending = f"below {last:,}" if isinstance(high, Lt) else (f"at most {last:,}" if above else f"{last:,}")
    return f", {bounds}{ending}"


def _as_toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else (f'"{value}"' if value == "" else str(value))
