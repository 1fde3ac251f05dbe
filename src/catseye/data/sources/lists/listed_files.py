"""The files that a list refers to, wherever it was written.

Enters: the folder of the list and the values of a column: paths of another computer, ids without a suffix, names in
another Unicode form. Leaves: names relative to that folder, or absolute ones. Called by `table.py`. Each folder is
listed once; there is no system call per file. Images in many folders, of which the list gives only the names, are
found if each name occurs once.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catseye.data.sources.leftovers import is_leftover
from catseye.data.sources.split_names import is_description, mentions_extra
from catseye.preprocess import LISTED_SUFFIXES

MAX_BASES = 300  # folders near the list that are searched
_SAMPLE = 40
SECOND_SHARE = 0.1
MAX_WALKED = 300_000  # files below the list's folder that are looked through for names without a folder
_DRIVE = re.compile(r"^[A-Za-z]:/")


@dataclass(frozen=True, order=True)
class PathRule:
    """How a value becomes a path: `dropped` leading folders are replaced by `base`."""

    cost: tuple[int, bool, str]
    base: str
    dropped: int


@dataclass
class _FolderListing:
    names: set[str]
    folded: dict[str, str] | None = None
    stems: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """The file of this name; else of other case or Unicode form, or with a suffix."""
        if name in self.names:
            return name
        if self.folded is None:
            self.folded = {_fold_name(each): each for each in sorted(self.names, reverse=True)}
        if match := self.folded.get(_fold_name(name)):
            return match
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
    _places: dict[str, str | None] | None = None  # name of a file -> its place below the folder, None for several
    _anywhere: bool = False

    def learn(self, values: Sequence[str]) -> int:
        """Learn from values how they become paths; returns how many of these exist."""
        sample = list(dict.fromkeys(values))
        sample = sample[:: max(1, len(sample) // _SAMPLE)][:_SAMPLE]
        plain = PathRule((0, False, ""), "", 0)
        hits = {plain: {value for value in sample if self._apply(plain, value) is not None}}
        if len(hits[plain]) < len(sample):
            for value in sample:
                for rule in self._possible_rules(value):
                    if rule != plain and self._apply(rule, value) is not None:
                        hits.setdefault(rule, set()).add(value)
        images = {rule: found for rule, found in hits.items() if not is_description(rule.base.rpartition("/")[2])}
        self._rules, self._anywhere = _fewest_rules(images, len(sample)), False
        missing = [value for value in sample if self._find(value) is None]
        if missing:
            found = [value for value in missing if self._only_place(value) is not None]
            self._anywhere = len(found) >= max(2, SECOND_SHARE * len(sample))
        if not self._rules and not self._anywhere:
            self._rules = _fewest_rules(hits, len(sample))  # masks are the only files of these names
        num_existing = sum(self._find(value) is not None for value in sample)
        return num_existing * len(values) // max(len(sample), 1)

    def name(self, value: str) -> str:
        """The file's name for a reader at the list's folder.

        If there is no such file, it is the value with forward slashes.
        """
        path = self._find(value)
        return path if path is not None else value.replace("\\", "/")

    def is_there(self, value: str) -> bool:
        """Whether the file of a value exists."""
        return self._find(value) is not None

    @property
    def places(self) -> str:
        """The folders of the files, for a remark; "" for the list's own."""
        bases = [f"{rule.base}/" for rule in self._rules[:1] if rule.base]
        return " and ".join([*bases, "folders where each name occurs once"] if self._anywhere else bases)

    def _find(self, value: str) -> str | None:
        for rule in self._rules:
            if (path := self._apply(rule, value)) is not None:
                return path
        return self._only_place(value) if self._anywhere else None

    def _only_place(self, value: str) -> str | None:
        """The only file below the list's folder that has the name in a value."""
        if self._places is None:
            self._places = _places_below(self.folder)
        parts = _path_parts(value)
        return self._places.get(_fold_name(parts[-1])) if parts else None

    def _possible_rules(self, value: str) -> Iterator[PathRule]:
        depth = len(_path_parts(value)) - 1
        for number, base in enumerate(self._near()):
            for dropped in range(depth + 1):
                yield PathRule((dropped + (number > 0), mentions_extra(base.rpartition("/")[2]), base), base, dropped)

    def _near(self) -> list[str]:
        """The list's folder and two levels below; then the folder above, and those in it."""
        if self._bases is None:
            below = list(self._folders(""))
            self._bases = ["", *below, *(deep for each in below for deep in self._folders(f"{each}/"))]
            self._bases += ["..", *(each for each in self._folders("../") if each != f"../{self.folder.name}")]
            self._bases = self._bases[:MAX_BASES]
        return self._bases

    def _folders(self, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self.folder / prefix) as entries:
                names = sorted(e.name for e in entries if e.is_dir() and not is_leftover(e.name))
        except OSError:
            return
        yield from (f"{prefix}{name}" for name in names[:MAX_BASES])

    def _apply(self, rule: PathRule, value: str) -> str | None:
        if not rule.dropped and not rule.base and "\\" in value and (name := self._look_up(value)) is not None:
            return name  # a file with a backslash in its name
        path = value.replace("\\", "/")
        if rule.dropped or rule.base:
            parts = _path_parts(value)
            if rule.dropped >= len(parts) or ".." in parts[rule.dropped :]:
                return None
            path = "/".join(([rule.base] if rule.base else []) + parts[rule.dropped :])
        elif _DRIVE.match(path) and os.name != "nt":
            return None
        return self._look_up(path)

    def _look_up(self, path: str) -> str | None:
        above, slash, last = path.rpartition("/")
        listing = self._listing(above + slash)
        if listing is not None and (name := listing.find(last)) is not None:
            return above + slash + name
        return None

    def _listing(self, prefix: str) -> _FolderListing | None:
        if prefix not in self._listings:
            try:
                with os.scandir(os.path.join(self.folder, prefix)) as entries:  # noqa: PTH118
                    self._listings[prefix] = _FolderListing({entry.name for entry in entries if not entry.is_dir()})
            except (OSError, ValueError):
                self._listings[prefix] = None
        return self._listings[prefix]


def _places_below(folder: Path) -> dict[str, str | None]:
    """Name, with and without suffix -> the only image of this name below a folder.

    None if there are several. Nothing if the folder has too many files.
    """
    places: dict[str, str | None] = {}
    num = 0
    for above, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_leftover(name) and not is_description(name))
        prefix = os.path.relpath(above, folder).replace(os.sep, "/") + "/"
        for name in files:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() in LISTED_SUFFIXES:
                for key in {_fold_name(name), _fold_name(stem)}:
                    places[key] = None if key in places else f"{prefix}{name}".removeprefix("./")
        num += len(files)
        if num > MAX_WALKED:
            return {}
    return places


def _fewest_rules(hits: dict[PathRule, set[str]], num: int) -> list[PathRule]:
    """The rule that finds most values, then rules that find many of the rest.

    One missing file is not searched in other folders, where another image may have its name. Rules that lead outside
    the list's folder count only if those inside find nothing.
    """
    inside = {rule: values for rule, values in hits.items() if values and not rule.base.startswith("..")}
    candidates = inside or hits
    rules: list[PathRule] = []
    missing = set().union(*candidates.values()) if candidates else set()
    while candidates:
        best = min(candidates, key=lambda rule: (-len(candidates[rule] & missing), rule))
        gain = len(candidates[best] & missing)
        if not gain or (rules and gain < max(2, SECOND_SHARE * num)):
            break
        rules.append(best)
        missing -= candidates[best]
    return rules


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _path_parts(value: str) -> list[str]:
    """The parts of a path, without drive and root."""
    path = _DRIVE.sub("", value.replace("\\", "/"))
    return [part for part in path.split("/") if part not in ("", ".")]
