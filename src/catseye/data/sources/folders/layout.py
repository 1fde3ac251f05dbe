"""Which level of folders are the splits and which the classes.

Enters: the tree of folders with images, and the user's choice (auto, splits, classes). Leaves: `Layout`, the folders
whose children are classes, each with its side (train, val or test). An ambiguous layout is an error that names the
options. Called by `labelled.py`.
"""

from dataclasses import dataclass, field
from typing import NoReturn

from catseye.counting import agree, count
from catseye.data.sources.folders.folder_roles import (
    any_repeats,
    class_names_below,
    has_class_folders,
    is_split_folder,
    is_unlabelled_split,
    repeats_classes,
    sides_by_name,
)
from catseye.data.sources.folders.layout_questions import NO_CLASSES, ask_about_alike, ask_about_nested, ask_about_parts
from catseye.data.sources.folders.tree import Folder
from catseye.data.sources.image_set import NOT_SPLIT, SPLIT_LABELS, TEST, TRAIN, VAL, a_few
from catseye.data.sources.split_names import is_extra, is_wrapper, side_of
from catseye.errors import DataError

USUAL = ("train", "val", "valid", "validation", "test", "training")  # such splits need no remark


@dataclass
class Layout:
    """`roots` are the folders whose children are classes, with their sides.

    `by_class` is for class folders that contain the splits (cat/train, cat/test): class folder, side, split folder.
    """

    roots: list[tuple[Folder, int]]
    by_class: list[tuple[Folder, int, Folder]] = field(default_factory=list)
    passed: list[Folder] = field(default_factory=list)  # the folders above, DATA first
    left_out: list[Folder] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def option_for(self, source: str) -> str:
        """The option, and DATA if necessary, that ask for this reading."""
        root, side = self.roots[0] if self.roots else (self.passed[-1], TRAIN)
        if side != NOT_SPLIT or is_split_folder(root):
            return "--layout splits"
        place = f"{source}/{root.path} as DATA with " if root.path else ""
        return f"{place}--layout classes (in settings: data.layout)"


def read_layout(source: str, root: Folder, choice: str) -> Layout:
    """Find the class folders below DATA.

    Raises:
        DataError: there are none.
        UnclearLayout: the layout is ambiguous; the message names the options.

    """
    return _Reading(source, choice).read(root)


class _Reading:
    """One walk down from DATA to the class folders."""

    def __init__(self, source: str, choice: str) -> None:
        self.source, self.choice = source, choice
        self.layout = Layout([])

    def read(self, here: Folder) -> Layout:
        while True:
            self.layout.passed.append(here)
            below = here.full
            if not below:
                raise DataError(
                    f"{self.source} has images but no class folders; put each class into a folder of its own, or label "
                    "the images on a page: catseye label FOLDER --classes a,b"
                )
            if len(below) == 1 and not below[0].direct:
                self._note_descent(here, below[0])
                here = below[0]
                continue
            if self.choice == "classes":
                return self._classes(here)
            if self._splits_in_classes(below) or self._splits(here, below):
                return self.layout
            deeper = self._holder_of_classes(here, below)
            if deeper is not None:
                here = deeper
                continue
            if self.choice == "splits" and not any(map(is_split_folder, self.layout.passed)):
                raise DataError(
                    f"--layout splits: {self._place(here)} has no folders that contain class folders; omit the option, "
                    "or put class folders into train/ and test/"
                )
            question = ask_about_parts(self._place(here), below)
            if question and self.choice == "auto":
                raise question
            self._refuse_nested([here])
            return self._classes(here)

    def _classes(self, here: Folder) -> Layout:
        self.layout.roots = [(here, NOT_SPLIT)]
        return self.layout

    def _note_descent(self, here: Folder, below: Folder) -> None:
        if is_split_folder(below) and not here.direct:
            self.layout.remarks.append(
                f"{below.path}/ is the only folder with images: it is read as the whole data set, not as a split"
            )
        elif below.core is below:  # once for a chain of folders
            self.layout.remarks.append(f"the images are in {below.path}/: DATA is read from there")

    # --- splits above classes ----------------------------------------------------------------------------------------

    def _splits(self, here: Folder, below: list[Folder]) -> bool:
        """Whether the folders are splits; then they are in the layout."""
        sides = sides_by_name(below)
        required = self.choice == "splits"
        holders = [folder for folder in below if has_class_folders(folder)]
        if not sides and (not required or len([folder for folder in holders if not is_extra(folder.name)]) < 2):
            return False
        kinds = set(sides.values())
        if not holders:
            return self._refuse_unlabelled(here, below, sides, kinds)
        with_classes = [folder for folder in holders if folder.path in sides]
        clear = bool(with_classes) and len(kinds) > 1
        if TRAIN not in kinds and not (with_classes and all(folder.path in sides for folder in holders)):
            clear = False  # test and val alone are splits only if nothing else looks like one
        others = [folder for folder in below if folder.path not in sides]
        if not clear and not required:
            return self._only_train(here, below, sides, with_classes, others)
        unknown = [folder for folder in others if has_class_folders(folder) and not is_extra(folder.name)]
        if not required:
            unknown = [folder for folder in unknown if repeats_classes(folder, with_classes)]
        if unknown and not required:
            self._refuse_alike(here, [*with_classes, *unknown])
        if unknown:
            sides |= self._sides_of_unknown(unknown, kinds)
        self._take_splits(here, below, sides)
        return True

    def _refuse_unlabelled(self, here: Folder, below: list[Folder], sides: dict[str, int], kinds: set[int]) -> bool:
        """Refuse train/*.jpg and test/*.jpg: splits without classes."""
        if self.choice == "splits" or (TRAIN in kinds and len(kinds) > 1 and len(sides) == len(below)):
            raise DataError(
                f"{self._place(here)}: {a_few([each.name for each in below])} hold images but no class folders; "
                f"{NO_CLASSES}"
            )
        return False

    def _only_train(
        self, here: Folder, below: list[Folder], sides: dict[str, int], with_classes: list[Folder], others: list[Folder]
    ) -> bool:
        """Read one split as the whole set, if all other folders are extras."""
        if not with_classes or len(with_classes) + len(others) != len(below):
            return False
        if any(not is_extra(folder.name) and repeats_classes(folder, with_classes) for folder in others):
            self._refuse_alike(here, [*with_classes, *others])
        if not all(is_extra(folder.name) for folder in others):
            return False
        self._take_splits(here, below, sides)
        return True

    def _take_splits(self, here: Folder, below: list[Folder], sides: dict[str, int]) -> None:
        layout = self.layout
        inside = [folder for folder in below if folder.path in sides]
        trained = set().union(*(class_names_below(folder) for folder in inside if sides[folder.path] == TRAIN))
        for folder in inside:
            mine = class_names_below(folder)
            held_out = sides[folder.path] in (VAL, TEST)
            if held_out and len(mine) == 1 and len(trained) > 1 and not mine & trained:
                del sides[folder.path]  # test/unknown/*.jpg, test/test/*.jpg: images without labels
        inside = [folder for folder in inside if folder.path in sides]
        layout.roots = [(folder.core, sides[folder.path]) for folder in inside]
        layout.left_out += [folder for folder in below if folder.path not in sides]
        self._note_left_out(here)
        labelled = [(folder, sides[folder.path]) for folder in inside if has_class_folders(folder)]
        unusual = [folder for folder, side in labelled if side != NOT_SPLIT and folder.name.lower() not in USUAL]
        if {side for _, side in labelled} == {TRAIN}:
            layout.roots = [(root, NOT_SPLIT) for root, _ in layout.roots]
            names = ", ".join(f"{folder.path}/" for folder, _ in labelled)
            layout.remarks.append(f"class folders are in {names} only: the held-out images are drawn from there")
        elif unusual:
            read = ", ".join(f"{folder.path}/ as {SPLIT_LABELS[sides[folder.path]]}" for folder in unusual)
            layout.remarks.append(f"splits: {read}")
        self._refuse_nested([root for root, _ in layout.roots])

    def _sides_of_unknown(self, unknown: list[Folder], kinds: set[int]) -> dict[str, int]:
        """Sides for --layout splits: the first of train, test and val that no folder has.

        If no folder names a split, all are pooled.
        """
        names = a_few([folder.path for folder in unknown])
        free = [side for side in (TRAIN, TEST, VAL) if side not in kinds]
        if not kinds:
            self.layout.remarks.append(
                f"{names} name no split: their images are pooled, and the held-out images are drawn"
            )
            return {folder.path: NOT_SPLIT for folder in unknown}
        if not free:
            return {}  # left out, with a note
        return {folder.path: free[0] for folder in unknown}

    # --- splits below classes ----------------------------------------------------------------------------------------

    def _splits_in_classes(self, below: list[Folder]) -> bool:
        """cat/train, cat/test, dog/train, dog/test."""
        classes = [
            folder for folder in below if not folder.direct and len(folder.full) > 1 and not is_split_folder(folder)
        ]
        flat = [folder for folder in below if folder not in classes]
        if len(classes) < 2 or not all(is_extra(folder.name) for folder in flat):
            return False
        splits = [(folder, side_of(part.name), part) for folder in classes for part in folder.full]
        if any(side is None or rest for _, (side, rest), _ in splits):
            return False
        kinds = {side for _, (side, _), _ in splits}
        if TRAIN not in kinds or len(kinds) < 2:
            return False
        self.layout.by_class = [(folder, side, part) for folder, (side, _), part in splits if side is not None]
        self.layout.left_out += flat
        self._note_left_out(self.layout.passed[-1])
        self.layout.remarks.append(f"each class folder contains the splits, as in {splits[0][2].path}/")
        return True

    # --- the folder above the classes --------------------------------------------------------------------------------

    def _holder_of_classes(self, here: Folder, below: list[Folder]) -> Folder | None:
        """The folder that contains the class folders, None if `below` are the classes."""
        holders = [folder for folder in below if folder.branches and not folder.direct]
        if not holders:
            return None
        likely = [folder for folder in holders if not is_extra(folder.name)] or holders
        if len(likely) > 1:
            if any_repeats(likely):
                self._refuse_alike(here, likely)
            if likely == below and self.choice == "auto":
                self._refuse_alike(here, likely, "sub-folders with images and no image of their own")
            return None
        (holder,) = likely
        others = [folder for folder in below if folder is not holder]
        named = is_wrapper(holder.name) or holder.name.casefold() == _last_part(here.path or self.source).casefold()
        splits = any(map(is_split_folder, holder.core.full))  # set/train, set/valid beside test/17.jpg
        if not named and not all(is_extra(each.name) or (splits and is_unlabelled_split(each)) for each in others):
            return None
        self.layout.left_out += others
        self._note_left_out(here, holder)
        return holder

    # --- notes and refusals -------------------------------------------------------------------------------------------

    def _note_left_out(self, here: Folder, taken: Folder | None = None) -> None:
        new = [folder for folder in self.layout.left_out if folder in here.full]
        if not new:
            return
        listed = ", ".join(f"{folder.path}/ ({count(folder.total, 'image')})" for folder in new)
        if taken is None:
            self.layout.notes.append(f"beside the splits, {listed} {agree(len(new), 'is', 'are')} left out")
        else:
            self.layout.notes.append(
                f"{taken.path}/ holds {count(len(taken.core.full), 'sub-folder')} with images and none of its own: "
                f"DATA is read from {self._place(taken)}; {listed} beside it {agree(len(new), 'is', 'are')} left out; "
                f"if {a_few([taken.name, *(folder.name for folder in new)])} are the classes, use --layout classes"
            )

    def _refuse_alike(self, here: Folder, alike: list[Folder], contents: str = "the same class folders") -> NoReturn:
        raise ask_about_alike(self._place(here), here.full, alike, contents)

    def _refuse_nested(self, roots: list[Folder]) -> None:
        """Refuse a class folder whose images are in sub-folders, which may be classes."""
        if self.choice != "auto":
            return
        folders: dict[str, list[Folder]] = {}
        for root in roots:
            for child in root.full:
                folders.setdefault(child.name, []).append(child)
        nested = [each for each in folders.values() if all(folder.branches and not folder.direct for folder in each)]
        if nested:
            option = "classes" if len(roots) == 1 and roots[0] is self.layout.passed[-1] else "splits"
            folder = nested[0][0]
            raise ask_about_nested(self._place(folder), folder, folders, option)

    def _place(self, folder: Folder) -> str:
        return f"{self.source}/{folder.path}" if folder.path else self.source


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".zip")
