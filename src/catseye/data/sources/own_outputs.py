"""Runs, exports and reports of catseye inside DATA: never data, and said.

Enters: the names of all files. Leaves: `OwnOutputs`. Called by `labelled.py`. They are known by the files that only
catseye writes together, so that those of older versions are known too.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from catseye.data.sources.image_set import a_few, so_many

# Folders that are ours as a whole: these files together, in any folder below DATA.
_WHOLE = {
    "run": [
        {"settings.toml", "data.json"},
        {"settings.toml", "history.jsonl"},
        {"settings.toml", "model.safetensors"},
        {"settings.toml", "environment.json"},
        {"data.json", "model.safetensors"},
    ],
    "export": [{"export.md"}],
    "golden answers": [{"golden.json"}],
    "predictions": [{"plan.json", "images.jsonl"}],
}
# Folders in which these files are ours, and the rest may be anybody's: --out may name any folder.
_FILES = {
    "report": [
        {"report.html", "metrics.json"},
        {"check.json", "check.html"},
        {"bench.json"},
        {"timeline.json", "timeline.md"},
    ],
}
_IMAGES = frozenset(
    {"confusion.png", "curves.png", "corruptions.png", "bench.png", "timeline.png", "lr-find.png", "reliability.png"}
)
_CAM = re.compile(r".+-(gradcam(\+\+)?|eigencam)\.png")  # IMAGE-METHOD.png of `catseye explain cam`
_EXPLANATION = "index.html"
_DRAWN_ENDINGS = ("lr-find.png", "-gradcam.png", "-gradcam++.png", "-eigencam.png")
_MARK = b'content="catseye'  # the generator that explanation/figures.py names in its page
_NAMES = frozenset().union(*(files for kinds in (_WHOLE, _FILES) for sets in kinds.values() for files in sets))


@dataclass
class OwnOutputs:
    """`folders`: path -> what it is; all below is left out. `files`: single images that catseye has drawn."""

    folders: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def covers(self, path: str) -> bool:
        """Whether a file or folder is one of them, or lies in one."""
        if not self.folders:
            return path in self.files
        return path in self.files or any(path == one or path.startswith(f"{one}/") for one in self.folders)

    def below(self, path: str) -> bool:
        """Whether one of them lies in this folder."""
        return any(one.startswith(f"{path}/") for one in (*self.folders, *self.files))

    def without(self, names: list[str]) -> list[str]:
        """The names that are none of them."""
        if not self.folders and not self.files:
            return names
        return [name for name in names if not self.covers(name)]

    def notes(self) -> list[str]:
        """What is skipped, in words."""
        notes = []
        if self.folders:
            kinds = sorted(set(self.folders.values()))
            many = so_many(len(self.folders), "folder")
            shown = a_few(sorted(self.folders), 3)
            notes.append(f"{many} that catseye wrote ({', '.join(kinds)}) in DATA: no data, skipped: {shown}")
        if self.files:
            shown = a_few(sorted(self.files), 3)
            notes.append(f"{so_many(len(self.files), 'image')} that catseye drew in DATA: no data, skipped: {shown}")
        return notes


def find_own_outputs(others: Iterable[str], images: list[str], read_head: Callable[[str], bytes]) -> OwnOutputs:
    """What catseye wrote among these files: `others` are no images by their suffix, `images` are."""
    there: dict[str, set[str]] = defaultdict(set)
    pages: set[str] = set()
    for name in others:
        folder, _, last = name.rpartition("/")
        if last in _NAMES:
            there[folder].add(last)
        elif last == _EXPLANATION:
            pages.add(folder)
    found = OwnOutputs()
    for folder, files in there.items():
        for kind, sets in _WHOLE.items():
            if folder and any(each <= files for each in sets):  # DATA itself was named by the user
                found.folders.setdefault(folder, kind)
    drawn = {folder for folder, files in there.items() if any(each <= files for each in _FILES["report"])}
    explained = {
        folder for folder in pages if _MARK in read_head(f"{folder}/{_EXPLANATION}" if folder else _EXPLANATION)
    }
    for name in images if drawn or explained else [name for name in images if name.endswith(_DRAWN_ENDINGS)]:
        folder, _, last = name.rpartition("/")
        if (
            folder in explained
            or last == "lr-find.png"
            or (folder in drawn and last in _IMAGES)
            or _CAM.fullmatch(last)
        ):
            found.files.add(name)
    for folder in drawn | {name.rpartition("/")[0] for name in found.files}:
        if folder and all(name in found.files for name in images if name.startswith(f"{folder}/")):
            found.folders.setdefault(folder, "report" if folder in drawn else "figures")
    found.folders = {one: kind for one, kind in found.folders.items() if not _parts_of(one) & found.folders.keys()}
    found.files = {name for name in found.files if not OwnOutputs(found.folders).covers(name)}
    return found


def _parts_of(path: str) -> set[str]:
    """The folders above a folder."""
    return {path[:place] for place, letter in enumerate(path) if letter == "/"}
