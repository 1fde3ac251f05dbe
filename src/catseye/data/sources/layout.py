"""Which level of folders are splits and which are classes: read where it is plain, asked where it is not.

Enters: the tree of folders with images, and the user's choice (auto, splits, classes). Leaves: `Layout`, the folders
whose children are classes, each with its side. Called by `labelled.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

from catseye.data.sources.image_set import NOT_SPLIT, SPLIT_LABELS, TEST, TRAIN, VAL, a_few, so_many
from catseye.data.sources.split_names import is_extra, is_wrapper, side_of
from catseye.data.sources.tree import Folder
from catseye.errors import DataError

CLEAR = 2  # class folders in common, from which on two folders look like splits of one set


class UnclearLayout(DataError):
    """Folders can be read in two ways, and the user has not said which."""


@dataclass
class Layout:
    """`roots` are the folders whose children are classes, with their sides.

    `by_class` is for class folders that hold the splits (cat/train, cat/test): class folder, side, folder.
    """

    roots: list[tuple[Folder, int]]
    by_class: list[tuple[Folder, int, Folder]] = field(default_factory=list)
    passed: list[Folder] = field(default_factory=list)  # the folders above, DATA first
    left_out: list[Folder] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_layout(source: str, root: Folder, choice: str) -> Layout:
    """Find the class folders below DATA.

    Raises:
        DataError: there are none.
        UnclearLayout: they can be read in two ways; the message says which option chooses.

    """
    return _Reading(source, choice).read(root)


class _Reading:
    """One walk down from DATA to the class folders."""

    def __init__(self, source: str, choice: str) -> None:
        self.source, self.choice = source, choice
        self.found = Layout([])

    def read(self, here: Folder) -> Layout:
        while True:
            self.found.passed.append(here)
            below = here.full
            if not below:
                raise DataError(
                    f"{self.source} has images but no class folders; put each class into a folder of its own"
                )
            if len(below) == 1 and not below[0].direct:
                self._say_descent(here, below[0])
                here = below[0]
                continue
            if self.choice == "classes":
                return self._classes(here)
            if self._splits_in_classes(below) or self._splits(here, below):
                return self.found
            deeper = self._one_that_holds_the_classes(here, below)
            if deeper is not None:
                here = deeper
                continue
            if self.choice == "splits" and not any(map(_is_side, self.found.passed)):
                raise DataError(
                    f"--layout splits: {self._place(here)} holds no folders that hold class folders; leave the option "
                    "out, or put class folders into train/ and test/"
                )
            self._ask_about_nested([here])
            return self._classes(here)

    def _classes(self, here: Folder) -> Layout:
        self.found.roots = [(here, NOT_SPLIT)]
        return self.found

    def _say_descent(self, here: Folder, below: Folder) -> None:
        if _is_side(below) and not here.direct:
            self.found.remarks.append(
                f"{below.path}/ is the only folder with images: it is read as the whole set, not as a split"
            )
        elif below.core is below:  # said once for a chain of folders
            self.found.remarks.append(f"the images lie in {below.path}/: DATA is read from there")

    # --- splits above classes ----------------------------------------------------------------------------------------

    def _splits(self, here: Folder, below: list[Folder]) -> bool:
        """Whether the folders are splits; then `found` says which is which."""
        sides = _sides_by_name(below)
        asked = self.choice == "splits"
        holders = [folder for folder in below if _has_classes(folder)]
        if not sides and (not asked or len([folder for folder in holders if not is_extra(folder.name)]) < 2):
            return False
        kinds = set(sides.values())
        if not holders:
            return self._refuse_unlabelled(here, below, sides, kinds)
        with_classes = [folder for folder in holders if folder.path in sides]
        plain = bool(with_classes) and len(kinds) > 1
        if TRAIN not in kinds and not (with_classes and all(folder.path in sides for folder in holders)):
            plain = False  # test and val alone are sides only where nothing else looks like one
        others = [folder for folder in below if folder.path not in sides]
        if not plain and not asked:
            return self._only_train(here, below, sides, with_classes, others)
        unknown = [folder for folder in others if _has_classes(folder) and not is_extra(folder.name)]
        if not asked:
            unknown = [folder for folder in unknown if _repeats(folder, with_classes)]
        if unknown and not asked:
            self._ask_splits_or_classes(here, [*with_classes, *unknown])
        if unknown:
            sides |= self._sides_of_unknown(unknown, kinds)
        self._take_splits(here, below, sides)
        return True

    def _refuse_unlabelled(self, here: Folder, below: list[Folder], sides: dict[str, int], kinds: set[int]) -> bool:
        """train/*.jpg and test/*.jpg: splits by their names, and nothing says what is in the images."""
        if self.choice == "splits" or (TRAIN in kinds and len(kinds) > 1 and len(sides) == len(below)):
            raise DataError(
                f"{self._place(here)}: {a_few([each.name for each in below])} hold images but no class folders; "
                "put each class into a folder of its own, or give a .csv with path,label; if these are the classes, "
                "say --layout classes"
            )
        return False

    def _only_train(
        self, here: Folder, below: list[Folder], sides: dict[str, int], with_classes: list[Folder], others: list[Folder]
    ) -> bool:
        """One side only, with its class folders: the whole set, where what lies beside it is clearly something else."""
        if not with_classes or len(with_classes) + len(others) != len(below):
            return False
        if any(not is_extra(folder.name) and _repeats(folder, with_classes) for folder in others):
            self._ask_splits_or_classes(here, [*with_classes, *others])
        if not all(is_extra(folder.name) for folder in others):
            return False
        self._take_splits(here, below, sides)
        return True

    def _take_splits(self, here: Folder, below: list[Folder], sides: dict[str, int]) -> None:
        found = self.found
        inside = [folder for folder in below if folder.path in sides]
        trained = set().union(*(_class_names(folder) for folder in inside if sides[folder.path] == TRAIN))
        for folder in inside:
            mine = _class_names(folder)
            held_out = sides[folder.path] in (VAL, TEST)
            if held_out and len(mine) == 1 and len(trained) > 1 and not mine & trained:
                del sides[folder.path]  # test/unknown/*.jpg, test/test/*.jpg: images that somebody else is to label
        inside = [folder for folder in inside if folder.path in sides]
        found.roots = [(folder.core, sides[folder.path]) for folder in inside]
        found.left_out += [folder for folder in below if folder.path not in sides]
        self._say_left_out(here)
        labelled = [(folder, sides[folder.path]) for folder in inside if _has_classes(folder)]
        unusual = [folder for folder, side in labelled if side != NOT_SPLIT and folder.name.lower() not in _USUAL]
        if {side for _, side in labelled} == {TRAIN}:
            found.roots = [(root, NOT_SPLIT) for root, _ in found.roots]
            names = ", ".join(f"{folder.path}/" for folder, _ in labelled)
            found.remarks.append(f"class folders are in {names} only: what is held out is drawn from there")
        elif unusual:
            read = ", ".join(f"{folder.path}/ as {SPLIT_LABELS[sides[folder.path]]}" for folder in unusual)
            found.remarks.append(f"splits: {read}")
        self._ask_about_nested([root for root, _ in found.roots])

    def _sides_of_unknown(self, unknown: list[Folder], kinds: set[int]) -> dict[str, int]:
        """With --layout splits: a folder beside train holds out, one beside test trains; else all are one pool."""
        names = a_few([folder.path for folder in unknown])
        free = [side for side in (TRAIN, TEST, VAL) if side not in kinds]
        if not kinds:
            self.found.remarks.append(f"{names} name no side: their images are pooled, and what is held out is drawn")
            return {folder.path: NOT_SPLIT for folder in unknown}
        if not free:
            return {}  # left out, and said to be so
        return {folder.path: free[0] for folder in unknown}

    # --- splits below classes ----------------------------------------------------------------------------------------

    def _splits_in_classes(self, below: list[Folder]) -> bool:
        """cat/train, cat/test, dog/train, dog/test."""
        classes = [folder for folder in below if not folder.direct and len(folder.full) > 1 and not _is_side(folder)]
        flat = [folder for folder in below if folder not in classes]
        if len(classes) < 2 or not all(is_extra(folder.name) for folder in flat):
            return False
        found = [(folder, side_of(part.name), part) for folder in classes for part in folder.full]
        if any(side is None or rest for _, (side, rest), _ in found):
            return False
        kinds = {side for _, (side, _), _ in found}
        if TRAIN not in kinds or len(kinds) < 2:
            return False
        self.found.by_class = [(folder, side, part) for folder, (side, _), part in found if side is not None]
        self.found.left_out += flat
        self._say_left_out(self.found.passed[-1])
        self.found.remarks.append("each class folder holds the splits, as in " + found[0][2].path + "/")
        return True

    # --- the folder above the classes --------------------------------------------------------------------------------

    def _one_that_holds_the_classes(self, here: Folder, below: list[Folder]) -> Folder | None:
        """The one folder in which the class folders lie, None where the folders themselves are the classes."""
        holders = [folder for folder in below if folder.branches and not folder.direct]
        if not holders:
            return None
        likely = [folder for folder in holders if not is_extra(folder.name)] or holders
        if len(likely) > 1:
            if _any_alike(likely):
                self._ask_splits_or_classes(here, likely)
            if likely == below and self.choice == "auto":
                self._ask_splits_or_classes(here, likely, "sub-folders with images and no image of their own")
            return None
        (one,) = likely
        others = [folder for folder in below if folder is not one]
        named = is_wrapper(one.name) or one.name.casefold() == _last_part(here.path or self.source).casefold()
        if not named and not all(is_extra(folder.name) for folder in others):
            return None
        self.found.left_out += others
        self._say_left_out(here, one)
        return one

    # --- what is said and asked --------------------------------------------------------------------------------------

    def _say_left_out(self, here: Folder, taken: Folder | None = None) -> None:
        new = [folder for folder in self.found.left_out if folder in here.full]
        if not new:
            return
        listed = ", ".join(f"{folder.path}/ ({so_many(folder.total, 'image')})" for folder in new)
        be = "is" if len(new) == 1 else "are"
        if taken is None:
            self.found.notes.append(f"{listed} {be} beside the splits and left out")
        else:
            self.found.notes.append(
                f"{taken.path}/ holds {so_many(len(taken.core.full), 'sub-folder')} with images and none of its own: "
                f"DATA is read from {self._place(taken)}; {listed} beside it {be} left out; if "
                f"{a_few([taken.name, *(folder.name for folder in new)])} are the classes, say --layout classes"
            )

    def _ask_splits_or_classes(self, here: Folder, alike: list[Folder], what: str = "the same class folders") -> None:
        inside = sorted({child.name for folder in alike for child in folder.core.full})
        names = sorted(folder.name for folder in alike)
        raise UnclearLayout(
            f"{self._place(here)}: the folders {a_few(names)} hold {what}. Are they splits or parts of one set, "
            f"with the classes {a_few(inside)}? Then say --layout splits. Or are they themselves the classes, "
            f"{a_few(sorted(folder.name for folder in here.full))}? Then say --layout classes "
            "(in settings: data.layout)"
        )

    def _ask_about_nested(self, roots: list[Folder]) -> None:
        """A class that has sub-folders with images and none of its own may be a level of its own."""
        if self.choice != "auto":
            return
        folders: dict[str, list[Folder]] = {}
        for root in roots:
            for child in root.full:
                folders.setdefault(child.name, []).append(child)
        nested = [each for each in folders.values() if all(folder.branches and not folder.direct for folder in each)]
        if not nested:
            return
        one = nested[0][0]
        option = "classes" if len(roots) == 1 and roots[0] is self.found.passed[-1] else "splits"
        parts = [child.name for child in one.core.full]
        raise UnclearLayout(
            f"{self._place(one)} holds {so_many(len(parts), 'sub-folder')} with images ({a_few(parts)}) and no image "
            f"of its own. Is {one.name!r} one class, with {a_few(sorted(folders))} as the classes? Then say --layout "
            f"{option} (in settings: data.layout). Are the classes in it? Then give {self._place(one)} as DATA, "
            "or move its sub-folders up to the other class folders"
        )

    def _place(self, folder: Folder) -> str:
        return f"{self.source}/{folder.path}" if folder.path else self.source


_USUAL = ("train", "val", "valid", "validation", "test", "training")


def _sides_by_name(below: list[Folder]) -> dict[str, int]:
    """Path -> side of the folders whose names say one; names that say more only where another folder bears them out.

    `train`, `Test_Data` speak for themselves. `steam_train` may be a class: it counts beside a `steam_test`, or where
    it repeats the class folders of another side.
    """
    read = {folder.path: side_of(folder.name) for folder in below}
    sides = {path: side for path, (side, rest) in read.items() if side is not None and not rest}
    vague = [folder for folder in below if read[folder.path][0] is not None and folder.path not in sides]
    for folder in vague:
        side, rest = read[folder.path]
        for other in below:
            its_side, its_rest = read[other.path]
            if (
                its_side is None
                or its_side == side
                or side is None
                or not (_has_classes(other) or _has_classes(folder))
            ):
                continue
            if its_rest == rest or _repeats(folder, [other]):
                sides[folder.path] = side
                break
    return sides


def _is_side(folder: Folder) -> bool:
    side, rest = side_of(folder.name)
    return side is not None and not rest


def _has_classes(folder: Folder) -> bool:
    """Whether folders with images lie in it. Images of its own do not count against it: strays lie everywhere."""
    return bool(folder.core.full)


def _class_names(folder: Folder) -> set[str]:
    return {child.name.casefold() for child in folder.core.full}


def _repeats(folder: Folder, others: Iterable[Folder]) -> bool:
    """Whether a folder repeats the class folders of another one."""
    mine = _class_names(folder)
    theirs = set().union(*map(_class_names, others))
    return len(mine & theirs) >= CLEAR or (bool(mine) and mine == theirs)


def _any_alike(folders: list[Folder]) -> bool:
    return any(_repeats(one, [other]) for one, other in combinations(folders, 2))


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".zip")
