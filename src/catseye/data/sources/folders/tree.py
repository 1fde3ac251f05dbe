"""The folders that hold images, as a tree with counts.

Enters: images per folder, and all folders. Leaves: `Folder`, the root. Called by `labelled.py`: the layout is
decided from it, without looking at a million names.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(eq=False)
class Folder:
    """One folder.

    `path` is relative to DATA, "" for DATA itself; `direct` images are in it, `total` in it and below.
    """

    path: str
    direct: int = 0
    total: int = 0
    children: dict[str, "Folder"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def full(self) -> list["Folder"]:
        """The folders in it that hold images at any depth, by name."""
        return sorted((child for child in self.children.values() if child.total), key=lambda child: child.name)

    @property
    def empty(self) -> list["Folder"]:
        """The folders in it that hold no image at any depth, by name."""
        return sorted((child for child in self.children.values() if not child.total), key=lambda child: child.name)

    @property
    def core(self) -> "Folder":
        """The folder itself, or the first one below that branches or has class folders.

        `train/train/cat`, `train/train/dog` -> `train/train`.
        """
        here = self
        while not here.direct and len(here.full) == 1 and not here.full[0].direct:
            here = here.full[0]
        return here

    @property
    def branches(self) -> bool:
        """Whether its core has no images but two or more folders with images."""
        core = self.core
        return not core.direct and len(core.full) > 1

    def walk(self) -> Iterator["Folder"]:
        """The folder and all below it."""
        pending = [self]
        while pending:
            folder = pending.pop()
            yield folder
            pending += folder.children.values()


def grow_tree(counts: Mapping[str, int], folders: Iterable[str]) -> Folder:
    """The tree of `folders`; `counts` are the numbers of images directly in each."""
    root = Folder("")
    known = {"": root}
    for path in (*folders, *counts):
        _add_folder(known, path)
    for path, count in counts.items():
        known[path].direct = count
        while True:
            known[path].total += count
            if not path:
                break
            path = path.rpartition("/")[0]
    return root


def _add_folder(known: dict[str, Folder], path: str) -> None:
    missing = []
    while path not in known:
        missing.append(path)
        path = path.rpartition("/")[0]
    for each in reversed(missing):
        above, _, name = each.rpartition("/")
        known[each] = known[above].children[name] = Folder(each)
