"""What a folder most likely is: a split, or a holder of class folders.

Enters: `Folder`s, with their names and the folders in them. Leaves: answers. Called by `layout.py`.
"""

from collections.abc import Iterable
from itertools import combinations

from catseye.data.sources.folders.tree import Folder
from catseye.data.sources.split_names import plain_side, side_of

CLEAR = 2  # class folders in common: two folders with as many look like splits of one set


def sides_by_name(folders: list[Folder]) -> dict[str, int]:
    """Path -> side, for the folders whose names mean a split.

    `train` and `Test_Data` are clear. `steam_train` may be a class: it counts beside a `steam_test`, or if it repeats
    the class folders of another split.
    """
    read = {folder.path: side_of(folder.name) for folder in folders}
    sides = {path: side for path, (side, rest) in read.items() if side is not None and not rest}
    vague = [folder for folder in folders if read[folder.path][0] is not None and folder.path not in sides]
    for folder in vague:
        side, rest = read[folder.path]
        for other in folders:
            its_side, its_rest = read[other.path]
            if (
                its_side is None
                or its_side == side
                or side is None
                or not (has_class_folders(other) or has_class_folders(folder))
            ):
                continue
            if its_rest == rest or repeats_classes(folder, [other]):
                sides[folder.path] = side
                break
    return sides


def is_split_folder(folder: Folder) -> bool:
    """Whether the name of the folder means a split and nothing else."""
    return plain_side(folder.name) is not None


def is_unlabelled_split(folder: Folder) -> bool:
    """Whether a split, by its name, has no class folders: test/17.jpg."""
    return is_split_folder(folder) and all(is_split_folder(child) for child in folder.core.full)


def has_class_folders(folder: Folder) -> bool:
    """Whether folders with images are in it, beside stray images perhaps."""
    return bool(folder.core.full)


def class_names_below(folder: Folder) -> set[str]:
    """The names of the class folders in it, without case."""
    return {child.name.casefold() for child in folder.core.full}


def repeats_classes(folder: Folder, others: Iterable[Folder]) -> bool:
    """Whether a folder has the class folders of other ones."""
    mine = class_names_below(folder)
    theirs = set().union(*map(class_names_below, others))
    return len(mine & theirs) >= CLEAR or (bool(mine) and mine == theirs)


def any_repeats(folders: list[Folder]) -> bool:
    """Whether two of the folders have the same class folders."""
    return any(repeats_classes(folder, [other]) for folder, other in combinations(folders, 2))
