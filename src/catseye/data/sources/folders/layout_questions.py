"""Questions about folders that can be read in two ways.

Enters: the place of folders and the folders in it. Leaves: `UnclearLayout`, whose message names the options. Called by
layout.py; labelled.py asks one of its own.
"""

from collections.abc import Iterable, Sequence

from catseye.counting import agree, count
from catseye.data.sources.folders.tree import Folder
from catseye.data.sources.image_set import a_few
from catseye.data.sources.split_names import are_parts, is_description, is_wrapper
from catseye.errors import DataError

NO_CLASSES = (
    "put each class into a folder of its own, or use a .csv with path,label; if these are the classes, use --layout "
    "classes (in settings: data.layout)"
)


class UnclearLayout(DataError):
    """The layout is ambiguous, and the user has not chosen one."""


def ask_about_alike(place: str, below: Sequence[Folder], alike: Sequence[Folder], contents: str) -> UnclearLayout:
    """The folders `alike`, of all `below` a place, may be splits or classes."""
    inside = sorted({child.name for folder in alike for child in folder.core.full})
    names = sorted(folder.name for folder in alike)
    return UnclearLayout(
        f"{place}: the folders {a_few(names)} hold {contents}. If they are splits or parts of one set, with the "
        f"classes {a_few(inside)}, use --layout splits. If they themselves are the classes, "
        f"{a_few(sorted(folder.name for folder in below))}, use --layout classes (in settings: data.layout). To read "
        f"one of them only, use {place}/{names[0]} as DATA"
    )


def ask_about_parts(place: str, below: Iterable[Folder]) -> UnclearLayout | None:
    """About part_1 and part_2, or images beside their masks; else None."""
    described = [folder.name for folder in below if is_description(folder.name)]
    rest = [folder.name for folder in below if folder.name not in described]
    if are_parts(rest):
        what = f"by their names, {a_few(rest)} are parts of one set and not classes"
    elif described and len(rest) == 1 and is_wrapper(rest[0]):
        verb = agree(len(described), "describes", "describe")
        what = f"by name, {a_few(described)} {verb} the images in {rest[0]!r}"
    else:
        return None
    return UnclearLayout(f"{place}: {what}; {NO_CLASSES}")


def ask_about_nested(place: str, folder: Folder, classes: Iterable[str], option: str) -> UnclearLayout:
    """A folder has images in sub-folders only, which may be classes.

    It is at `place`, beside others called `classes`; `option` is the layout that makes it one of them.
    """
    parts = [child.name for child in folder.core.full]
    return UnclearLayout(
        f"{place} holds {count(len(parts), 'sub-folder')} with images ({a_few(parts)}) and no image of its own. If "
        f"{folder.name!r} is one of the classes {a_few(sorted(classes))}, use --layout {option} (in settings: "
        f"data.layout). If the classes are in it, use {place} as DATA, or move its sub-folders up to the other class "
        "folders"
    )
