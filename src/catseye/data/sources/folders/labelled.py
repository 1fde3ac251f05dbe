"""Files in folders become an `ImageSet`: every image gets a class and a split.

Enters: the names of all files and folders of DATA, from a disk, a zip or a tar. Leaves: `ImageSet`. Called by
`open_data.py`. There may be a million names: they are counted and looked up, but no parts of them are kept.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catseye.counting import agree, count
from catseye.data.names import Names
from catseye.data.sources.folders.detection import note_on_detection_set
from catseye.data.sources.folders.file_names import label_by_name, suggest_names
from catseye.data.sources.folders.layout import Layout, read_layout
from catseye.data.sources.folders.layout_questions import UnclearLayout
from catseye.data.sources.folders.lists_beside import ReadHead, advise_list, find_lists, find_other_labels, note_lists
from catseye.data.sources.folders.masks import leave_masks_out
from catseye.data.sources.folders.other_files import describe_other_files
from catseye.data.sources.folders.own_outputs import OwnOutputs, find_own_outputs
from catseye.data.sources.folders.tree import Folder, grow_tree
from catseye.data.sources.image_names import image_names, is_array
from catseye.data.sources.image_set import (
    NOT_SPLIT,
    TRAIN,
    ImageSet,
    MakeReader,
    Unlabelled,
    a_few,
    printable_name,
)
from catseye.data.sources.missing_labels import names_no_class, note_on_folders, part_unlabelled
from catseye.errors import DataError
from catseye.preprocess import ARRAY_SUFFIX, FILE_SUFFIXES

Place = tuple[str, int]  # class and side


def label_by_folder(
    source: str,
    files: list[str],
    folders: list[str],
    reader: MakeReader,
    *,
    layout: str = "auto",
    read_head: ReadHead,
) -> ImageSet:
    """Class and split of every image from its folders.

    `read_head` returns the first bytes of a file. `layout` is auto, splits, classes or names.

    Raises:
        DataError: no images, no class folders, an ambiguous layout, or a data set for another task.

    """
    listing = _sort_files(source, files, layout, read_head)
    if not listing.images:
        raise DataError(_no_images(listing))
    if layout == "names":
        return label_by_name(source, listing.images, reader, listing.notes)
    counts = Counter(map(_folder_of, listing.images))
    root = grow_tree(counts, [folder for folder in folders if not listing.own.covers(folder)])
    try:
        tree = read_layout(source, root, layout)
    except DataError as error:
        raise type(error)(f"{error}{_advice(listing, listing.images)}") from None
    places, remarks = _place_folders(source, tree)
    names, without = (listing.images, []) if layout == "classes" else part_unlabelled(listing.images, places)
    notes_on_unlabelled = note_on_folders([name for name in without if _folder_of(name) in places])
    places = {folder: place for folder, place in places.items() if not without or not names_no_class(folder)}
    classes = sorted({name for name, _ in places.values()})
    if layout == "auto":
        _refuse_doubtful(listing, tree, places, read_head)
    number = {name: index for index, name in enumerate(classes)}
    coded = {folder: (number[name], side) for folder, (name, side) in places.items()}
    inside = [name for name in names if _folder_of(name) in coded]
    notes = [*listing.notes, *tree.notes, *_note_strays(names, inside, places, tree), *notes_on_unlabelled]
    kept = Names(inside)
    return ImageSet(
        source=source,
        classes=tuple(classes),
        names=kept,
        labels=np.fromiter((coded[_folder_of(name)][0] for name in inside), np.int64, len(inside)),
        splits=np.fromiter((coded[_folder_of(name)][1] for name in inside), np.int8, len(inside)),
        read=reader(kept),
        notes=(*notes, *_note_other_files(listing)),
        remarks=(*tree.remarks, *remarks, *_note_empty_folders(tree, listing.own), *note_lists(source, listing.lists)),
        unlabelled=_without_label(without, reader),
    )


@dataclass(frozen=True)
class _Listing:
    """The files of DATA by kind; `lists` are among the `others`."""

    source: str
    images: list[str]
    own: OwnOutputs
    others: list[str]
    lists: list[str]
    notes: list[str]  # on catseye's own files and on masks


def _sort_files(source: str, files: list[str], layout: str, read_head: ReadHead) -> _Listing:
    names = image_names(files)
    suffixes = FILE_SUFFIXES if not names or not is_array(names[0]) else {ARRAY_SUFFIX}
    others = []
    if len(names) < len(files):
        others = [name for name in files if os.path.splitext(name)[1].lower() not in suffixes]  # noqa: PTH122
    own = find_own_outputs(others, names, read_head)
    lists = find_lists((name for name in others if not own.covers(name)), read_head)
    images = own.without(names)
    notes = own.notes()
    if layout != "classes":
        images, on_masks = leave_masks_out(images, alone=layout == "names")
        notes += on_masks
    return _Listing(source, images, own, others, lists, notes)


def _without_label(names: list[str], reader: MakeReader) -> Unlabelled | None:
    kept = Names(names)
    return Unlabelled(kept, np.full(len(names), NOT_SPLIT, np.int8), reader(kept)) if names else None


def _advice(listing: _Listing, names: list[str]) -> str:
    """Another way to read the classes of these images; empty if there is none."""
    return (
        advise_list(listing.source, listing.lists)
        or suggest_names(names)
        or note_on_detection_set(names, listing.others)
    )


def _refuse_doubtful(listing: _Listing, tree: Layout, places: dict[str, Place], read_head: ReadHead) -> None:
    """Refuse a single class, and folders that a list contradicts.

    Such folders may be hospitals, cameras, parts of a download. A single class is left to the checks if nothing else in
    DATA may name classes.
    """
    classes = {name for name, _ in places.values()}
    if len(classes) < 2:
        if advice := _advice(listing, listing.images):
            raise DataError(f"{listing.source} holds one folder with images, {min(classes)!r}{advice}")
        return

    def class_of(name: str) -> str | None:
        place = places.get(_folder_of(name))
        return place and place[0]

    if question := find_other_labels(listing.source, listing.lists, read_head, listing.images, class_of):
        raise UnclearLayout(f"{question}; if the folders are the classes, use {tree.option_for(listing.source)}")


def _folder_of(name: str) -> str:
    return name[: max(name.rfind("/"), 0)]


def _no_images(listing: _Listing) -> str:
    text = f"{listing.source} holds no images (looked for {', '.join(sorted(FILE_SUFFIXES))})"
    others = [name for name in listing.others if not listing.own.covers(name)]
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in others)  # noqa: PTH122
    if suffixes:
        text += f"; {describe_other_files(suffixes)}"
    return "; ".join([text, *listing.notes]) + advise_list(listing.source, listing.lists)


def _place_folders(source: str, layout: Layout) -> tuple[dict[str, Place], list[str]]:
    """Folder with images -> class and side, and remarks on the names of the classes."""
    rows = [(root.path, child, side, child.walk()) for root, side in layout.roots for child in root.full]
    rows += [(folder.path, folder, side, part.walk()) for folder, side, part in layout.by_class]
    for _, folder, _, _ in rows:
        _refuse_unreadable_name(source, folder)
    names, remarks = _class_names_of([(root, folder.name, side) for root, folder, side, _ in rows])
    return {
        folder.path: (names[top.name], side) for _, top, side, folders in rows for folder in folders if folder.direct
    }, remarks


def _refuse_unreadable_name(source: str, folder: Folder) -> None:
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{source}: the class folder {printable_name(folder.path)} has a name that is not UTF-8, which the file of "
            "the model cannot hold; rename it, for example with: convmv -f latin1 -t utf8 --notest -r DATA"
        ) from None


def _class_names_of(rows: Sequence[tuple[str, str, int]]) -> tuple[dict[str, str], list[str]]:
    """Folder name -> class, and remarks on names that are joined to one class.

    Names are joined if only their Unicode form differs, or only their case and never in one folder. `rows` are (folder
    above, name, side). macOS writes é as two characters, Windows and Linux as one.
    """
    remarks: list[str] = []
    composed = {name: unicodedata.normalize("NFC", name) for _, name, _ in rows}
    twice = sorted({composed[name] for name in composed if composed[name] != name and composed[name] in composed})
    if twice:
        remarks.append(f"{a_few(twice)}: folders whose names differ only in Unicode form are one class")
    above: dict[str, dict[str, set[str]]] = {}  # case-folded name -> name -> the folders that contain it
    for place, name, _ in rows:
        above.setdefault(composed[name].casefold(), {}).setdefault(composed[name], set()).add(place)
    trained = {composed[name] for _, name, side in rows if side in (TRAIN, NOT_SPLIT)}
    for variants in above.values():
        apart = [place for places in variants.values() for place in places]
        if len(variants) > 1 and len(apart) == len(set(apart)):  # never two of them side by side
            final = min(variants, key=lambda name: (name not in trained, name))
            for name in composed:
                if composed[name] in variants:
                    composed[name] = final
            remarks.append(f"{a_few(sorted(variants))} differ only by case between the splits: one class, {final!r}")
    return composed, remarks


def _note_strays(names: list[str], inside: list[str], places: dict[str, Place], layout: Layout) -> list[str]:
    """A note on images outside the class folders, except in folders that have a note."""
    if len(inside) == len(names):
        return []
    known = tuple(f"{folder.path}/" for folder in layout.left_out)
    outside = [name for name in names if _folder_of(name) not in places and not (known and name.startswith(known))]
    if not outside:
        return []
    verb, first = agree(len(outside), "is", "are"), printable_name(outside[0])
    return [f"{count(len(outside), 'image')} {verb} outside the class folders and left out, e.g. {first}"]


def _note_other_files(listing: _Listing) -> list[str]:
    num = len(listing.others) - sum(map(listing.own.covers, listing.others))
    if not num:
        return []
    return [f"{count(num, 'file')} without the suffix of an image {agree(num, 'is', 'are')} left out"]


def _note_empty_folders(layout: Layout, own: OwnOutputs) -> list[str]:
    looked_at = [*layout.passed, *(root for root, _ in layout.roots), *(folder for folder, _, _ in layout.by_class)]
    empty = {child.path for folder in looked_at for child in folder.empty if not own.below(child.path)}
    if not empty:
        return []
    num = len(empty)
    verb = agree(num, "contains no images and is not a class", "contain no images and are not classes")
    return [f"{count(num, 'folder')} {verb}: {a_few(sorted(empty))}"]
