"""Merges a recipe, a TOML file and `--set key=value`, and checks the result.

Enters: recipe name or file, overrides; a later one of the three replaces an earlier one. Leaves: one frozen `Settings`,
or its TOML. Called by cli and `catseye.train`. The error for an unknown key suggests the nearest known one; an option
that would do nothing is refused.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catseye.errors import MissingDependency, UnknownName, UsageError
from catseye.settings.schema import Settings, SettingsTable, inert_options

MAX_FILE_BYTES = 1_000_000
# Tried only at the beginning of a word: otherwise a megabyte of letters would be scanned from each of them.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
UNDECIDED = "auto"  # the recipe that decides its settings once the images are known


def load_settings(
    recipe: str = "quick",
    *,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
    decided: Mapping[str, object] | None = None,
) -> Settings:
    """Merge the sources of the settings and check the result.

    A later source replaces an earlier one: recipe, `decided`, config file, `values`, `--set` overrides. `values`,
    `decided` and `overrides` are keyed by dotted names: `{"training.epochs": 5}`, `["training.epochs=5"]`. `decided`
    counts as part of the recipe: what `training/auto.py` chose for these images.

    Raises:
        UsageError: a key is unknown, a value is out of range, or an option would do nothing.

    >>> load_settings("quick", overrides=["training.epochs=5"]).training.epochs
    5

    """
    base = _read_toml(find_recipe(recipe))
    base["recipe"] = recipe
    for key, value in (decided or {}).items():
        _put(base, key, value)
    mine = own_settings(config=config, overrides=overrides, values=values)
    _require_tables(base, recipe)
    _require_tables(mine, "--set" if not config else str(config))
    if "name" in mine.get("model", {}) and mine["model"]["name"] != base.get("model", {}).get("name"):
        base["model"] = {}  # the recipe's options were meant for its own network
    _refuse_unknown(base, recipe)
    _refuse_unknown(mine, "--set" if not config else str(config))
    settings = _validate(_merge(base, mine))
    momentum = settings.training.momentum
    if settings.training.cycle_momentum and momentum and not 0.05 <= momentum < 0.95:
        raise UsageError(
            f"training.cycle_momentum swings by 0.05, so training.momentum is 0.05 to 0.95; got {momentum}"
        )
    # A recipe's setting that has no effect with the user's choice is dropped; a setting of the user's is refused.
    for key, reason in inert_options(settings).items():
        if _get_value(mine, key) is not None:
            if recipe == UNDECIDED:  # it is not yet known which settings will have no effect
                continue
            raise UsageError(f"{key} would do nothing here: {reason}; leave it out")
        if _get_value(base, key) is not None:
            _drop(base, key)
    return _validate(_merge(base, mine))


def own_settings(
    *,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """What the user set, without any recipe, as nested tables; not checked yet.

    >>> own_settings(overrides=["training.epochs=5"])
    {'training': {'epochs': 5}}

    """
    mine: dict[str, Any] = _read_toml(config) if config else {}
    for key, value in (values or {}).items():
        _put(mine, key, value)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise UsageError(f"--set takes KEY=VALUE; got {override!r}; for example --set training.epochs=5")
        _put(mine, key.strip(), _parse_value(text.strip()))
    return mine


def recipe_names() -> list[str]:
    """The recipes that come with catseye."""
    folder = resources.files("catseye.settings").joinpath("recipes")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def find_recipe(recipe: str) -> Path:
    """The file of a named recipe, or the file itself if a .toml path is given."""
    if recipe.endswith(".toml"):
        return Path(recipe)
    if recipe not in recipe_names():
        raise UnknownName("recipe", recipe, recipe_names(), see="A path that ends in .toml works too.")
    return Path(str(resources.files("catseye.settings").joinpath("recipes", f"{recipe}.toml")))


def to_toml(settings: Settings) -> str:
    """The settings as a TOML file that `--config` reads back."""
    try:
        from tomli_w import dumps
    except ImportError:
        raise MissingDependency("tomli_w") from None
    return dumps(settings.model_dump(exclude_none=True))


def read_settings(path: Path) -> Settings:
    """Settings as `to_toml` wrote them."""
    return _validate(_read_toml(path))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:  # noqa: PTH202
            raise UsageError(f"a settings file has at most {MAX_FILE_BYTES:,} bytes; {path} is larger")
        text = path.read_text(encoding="utf-8-sig")
        if _LONG_KEY.search(text):  # tomllib takes minutes for one of thousands
            raise ValueError("it has a key of more than 32 parts")
        return tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"settings file {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UsageError(f"settings file {path} is not valid TOML ({error})") from None


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _require_tables(tables: Mapping[str, Any], source: str) -> None:
    """Refuse a value in place of a group, such as `model = 1`.

    A group of settings is a table; otherwise it could not be merged with the recipe's.
    """
    for name, field in Settings.model_fields.items():
        if _is_group(field.annotation) and not isinstance(tables.get(name, {}), Mapping):
            raise UsageError(
                f"{name} in {source} is a table of settings; got {tables[name]!r}; write [{name}] above them"
            )


def _refuse_unknown(tables: Mapping[str, Any], source: str) -> None:
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    known = [name for name, kind in groups.items() if not _is_group(kind)]
    for name, kind in groups.items():
        if _is_group(kind):
            known += [f"{name}.{key}" for key in kind.model_fields]  # type: ignore[union-attr]
    for name, value in tables.items():
        keys = [f"{name}.{key}" for key in value] if isinstance(value, Mapping) else [name]
        for key in keys:
            if key not in known:
                raise UnknownName(f"setting in {source}:", key, known)


def _is_group(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, SettingsTable)


def _validate(tables: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        # A union repeats the key with the name of each branch; the first two parts name the setting.
        key = ".".join(str(part) for part in first["loc"][:2])
        rule = first["msg"][0].lower() + first["msg"][1:]
        raise UsageError(f"{key}: {rule}; got {first['input']!r}") from None


def _put(tables: dict[str, Any], key: str, value: object) -> None:
    group, _, name = key.rpartition(".")
    if group:
        table = tables.setdefault(group, {})
        if not isinstance(table, dict):
            raise UsageError(f"{group} is a table, not a value; got {table!r}")
        table[name] = value
    else:
        tables[name] = value


def _get_value(tables: Mapping[str, Any], key: str) -> object:
    group, _, name = key.partition(".")
    return tables.get(group, {}).get(name)


def _drop(tables: dict[str, Any], key: str) -> None:
    group, _, name = key.partition(".")
    del tables[group][name]


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = {**base[key], **value} if both else value
    return merged
