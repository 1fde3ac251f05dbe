"""Runs, exports and reports of catseye inside DATA: skipped, with a note.

Enters: the names of all files. Leaves: `OwnOutputs`. Called by `labelled.py`. They are recognised by files that only
catseye writes together, so that those of older versions are recognised too.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from catseye.counting import count
from catseye.data.sources.image_set import a_few

# Folders that catseye wrote as a whole: these files together, in any folder below DATA.
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
# Folders in which catseye wrote these files; others may be the user's, since --out may name any folder.
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
_HEAD_BYTES = 1024
_MARK = b'content="catseye'  # the generator that explanation/figures.py names in its page
_NAMES = frozenset().union(*(files for kinds in (_WHOLE, _FILES) for sets in kinds.values() for files in sets))


@dataclass
class OwnOutputs:
    """`folders`: path -> kind, skipped as a whole; `files`: images that catseye drew."""

    folders: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def covers(self, path: str) -> bool:
        """Whether a file or folder is one of them, or is in one."""
        if not self.folders:
            return path in self.files
        return path in self.files or any(path == own or path.startswith(f"{own}/") for own in self.folders)

    def below(self, path: str) -> bool:
        """Whether one of them is in this folder."""
        return any(own.startswith(f"{path}/") for own in (*self.folders, *self.files))

    def without(self, names: list[str]) -> list[str]:
        """The names of all other files."""
        if not self.folders and not self.files:
            return names
        return [name for name in names if not self.covers(name)]

    def notes(self) -> list[str]:
        """What is skipped, in sentences."""
        notes = []
        if self.folders:
            kinds = sorted(set(self.folders.values()))
            folders = count(len(self.folders), "folder")
            shown = a_few(sorted(self.folders), 3)
            notes.append(f"{folders} in DATA that catseye wrote ({', '.join(kinds)}), skipped: {shown}")
        if self.files:
            shown = a_few(sorted(self.files), 3)
            notes.append(f"{count(len(self.files), 'image')} in DATA that catseye drew, skipped: {shown}")
        return notes


def find_own_outputs(others: Iterable[str], images: list[str], read_head: Callable[[str, int], bytes]) -> OwnOutputs:
    """What catseye wrote: `images` have the suffix of an image, `others` have not."""
    written: dict[str, set[str]] = defaultdict(set)
    pages: set[str] = set()
    for name in others:
        folder, _, last = name.rpartition("/")
        if last in _NAMES:
            written[folder].add(last)
        elif last == _EXPLANATION:
            pages.add(folder)
    own = OwnOutputs()
    for folder, files in written.items():
        for kind, sets in _WHOLE.items():
            if folder and any(each <= files for each in sets):  # the user named DATA itself
                own.folders.setdefault(folder, kind)
    drawn = {folder for folder, files in written.items() if any(each <= files for each in _FILES["report"])}
    explained = {
        folder
        for folder in pages
        if _MARK in read_head(f"{folder}/{_EXPLANATION}" if folder else _EXPLANATION, _HEAD_BYTES)
    }
    for name in images if drawn or explained else [name for name in images if name.endswith(_DRAWN_ENDINGS)]:
        folder, _, last = name.rpartition("/")
        if (
            folder in explained
            or last == "lr-find.png"
            or (folder in drawn and last in _IMAGES)
            or _CAM.fullmatch(last)
        ):
            own.files.add(name)
    for folder in drawn | {name.rpartition("/")[0] for name in own.files}:
        if folder and all(name in own.files for name in images if name.startswith(f"{folder}/")):
            own.folders.setdefault(folder, "report" if folder in drawn else "figures")
    own.folders = {path: kind for path, kind in own.folders.items() if not _folders_above(path) & own.folders.keys()}
    own.files = {name for name in own.files if not OwnOutputs(own.folders).covers(name)}
    return own


def _folders_above(path: str) -> set[str]:
    return {path[:place] for place, letter in enumerate(path) if letter == "/"}
