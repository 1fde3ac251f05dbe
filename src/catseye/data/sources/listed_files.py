"""The files that a list means: paths of other systems and places, ids without a suffix, names in another form.

Enters: the folder of the list and the values of a column. Leaves: names relative to that folder, or absolute ones.
Called by `table.py`. Folders are listed once each; nothing is asked about single files.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catseye.data.sources.leftovers import is_leftover
from catseye.data.sources.split_names import mentions_extra
from catseye.preprocess import LISTED_SUFFIXES

MAX_BASES = 300  # folders near the list in which files are looked for
_SAMPLE = 40
SECOND_SHARE = 0.1
_DRIVE = re.compile(r"^[A-Za-z]:/")


@dataclass(frozen=True, order=True)
class PathRule:
    """How a value becomes a path: so many leading folders dropped, then put below `base`."""

    cost: tuple[int, bool, str]
    base: str
    dropped: int


@dataclass
class _FolderListing:
    names: set[str]
    folded: dict[str, str] | None = None
    stems: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """The file of this name; else one that differs by case or Unicode form only; else one with a suffix added."""
        if name in self.names:
            return name
        if self.folded is None:
            self.folded = {_fold_name(each): each for each in sorted(self.names, reverse=True)}
        if found := self.folded.get(_fold_name(name)):
            return found
        if os.path.splitext(name)[1].lower() in LISTED_SUFFIXES:  # noqa: PTH122
            return None
        if self.stems is None:
            split = [os.path.splitext(each) for each in sorted(self.names, reverse=True)]  # noqa: PTH122
            self.stems = {
                _fold_name(stem): stem + suffix for stem, suffix in split if suffix.lower() in LISTED_SUFFIXES
            }
        return self.stems.get(_fold_name(name))


@dataclass
class ListedFiles:
    """Finds files below the folder of a list, and near it."""

    folder: Path
    _listings: dict[str, _FolderListing | None] = field(default_factory=dict)
    _rules: list[PathRule] = field(default_factory=list)
    _bases: list[str] | None = None

    def learn(self, values: Sequence[str]) -> int:
        """Learn from some values how they become paths; returns how many of them are there."""
        sample = list(dict.fromkeys(values))
        sample = sample[:: max(1, len(sample) // _SAMPLE)][:_SAMPLE]
        plain = PathRule((0, False, ""), "", 0)
        hits = {plain: {value for value in sample if self._apply(plain, value) is not None}}
        if len(hits[plain]) < len(sample):
            for value in sample:
                for rule in self._possible_rules(value):
                    if rule != plain and self._apply(rule, value) is not None:
                        hits.setdefault(rule, set()).add(value)
        self._rules = _fewest_rules(hits, len(sample))
        found = sum(self._find(value) is not None for value in sample)
        return found * len(values) // max(len(sample), 1)

    def name(self, value: str) -> str:
        """The file's name for a reader at the list's folder; where there is no such file, the value with slashes."""
        found = self._find(value)
        return found if found is not None else value.replace("\\", "/")

    def is_there(self, value: str) -> bool:
        """Whether a file is found for a value."""
        return self._find(value) is not None

    @property
    def base(self) -> str:
        """The folder below which most files were found, relative to the list's; "" for that one itself."""
        return self._rules[0].base if self._rules else ""

    def _find(self, value: str) -> str | None:
        for rule in self._rules:
            if (found := self._apply(rule, value)) is not None:
                return found
        return None

    def _possible_rules(self, value: str) -> Iterator[PathRule]:
        depth = len(_path_parts(value)) - 1
        for number, base in enumerate(self._near()):
            for dropped in range(depth + 1):
                yield PathRule((dropped + (number > 0), mentions_extra(base.rpartition("/")[2]), base), base, dropped)

    def _near(self) -> list[str]:
        """The list's folder, those in it and in them; then the folder above, and those in it."""
        if self._bases is None:
            below = list(self._folders(""))
            self._bases = ["", *below, *(deep for each in below for deep in self._folders(f"{each}/"))]
            self._bases += ["..", *(each for each in self._folders("../") if each != f"../{self.folder.name}")]
            self._bases = self._bases[:MAX_BASES]
        return self._bases

    def _folders(self, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self.folder / prefix) as entries:
                found = sorted(e.name for e in entries if e.is_dir() and not is_leftover(e.name))
        except OSError:
            return
        yield from (f"{prefix}{name}" for name in found[:MAX_BASES])

    def _apply(self, rule: PathRule, value: str) -> str | None:
        if not rule.dropped and not rule.base and "\\" in value and (found := self._look(value)) is not None:
            return found  # a file whose name has a backslash in it
        path = value.replace("\\", "/")
        if rule.dropped or rule.base:
            parts = _path_parts(value)
            if rule.dropped >= len(parts) or ".." in parts[rule.dropped :]:
                return None
            path = "/".join(([rule.base] if rule.base else []) + parts[rule.dropped :])
        elif _DRIVE.match(path) and os.name != "nt":
            return None
        return self._look(path)

    def _look(self, path: str) -> str | None:
        above, slash, last = path.rpartition("/")
        listing = self._listing(above + slash)
        if listing is not None and (found := listing.find(last)) is not None:
            return above + slash + found
        return None

    def _listing(self, prefix: str) -> _FolderListing | None:
        if prefix not in self._listings:
            try:
                with os.scandir(os.path.join(self.folder, prefix)) as entries:  # noqa: PTH118
                    self._listings[prefix] = _FolderListing({entry.name for entry in entries if not entry.is_dir()})
            except (OSError, ValueError):
                self._listings[prefix] = None
        return self._listings[prefix]


def _fewest_rules(hits: dict[PathRule, set[str]], num: int) -> list[PathRule]:
    """The rule that finds most, then what finds a good part of the rest: a single missing file is not looked for
    elsewhere, where another image may have its name. Outside the list's folder only where nothing is found inside.
    """
    inside = {rule: found for rule, found in hits.items() if found and not rule.base.startswith("..")}
    left = inside or hits
    chosen: list[PathRule] = []
    missing = set().union(*left.values()) if left else set()
    while left:
        best = min(left, key=lambda rule: (-len(left[rule] & missing), rule))
        gain = len(left[best] & missing)
        if not gain or (chosen and gain < max(2, SECOND_SHARE * num)):
            break
        chosen.append(best)
        missing -= left[best]
    return chosen


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _path_parts(value: str) -> list[str]:
    """The folders and the file of a path, without drive and root."""
    path = _DRIVE.sub("", value.replace("\\", "/"))
    return [part for part in path.split("/") if part not in ("", ".")]
