"""Files in folders become an `ImageSet`: own outputs are left out, the layout is read, every image gets class and side.

Enters: the names of all files and folders of DATA, from a disk or a zip. Leaves: `ImageSet`. Called by `open_data.py`.
A million names pass through here: they are only counted and looked up, never taken apart and kept.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from catseye.data.names import Names
from catseye.data.sources.detection import tell_detection_set
from catseye.data.sources.file_names import label_by_name, offer_names
from catseye.data.sources.image_names import image_names, is_array
from catseye.data.sources.image_set import (
    NOT_SPLIT,
    TRAIN,
    ImageSet,
    MakeReader,
    Unlabelled,
    a_few,
    printable_name,
    so_many,
)
from catseye.data.sources.layout import Layout, read_layout
from catseye.data.sources.missing_labels import names_no_class, note_on_folders, part_unlabelled
from catseye.data.sources.own_outputs import OwnOutputs, find_own_outputs
from catseye.data.sources.tree import Folder, grow_tree
from catseye.errors import DataError
from catseye.preprocess import ARRAY_SUFFIX, FILE_SUFFIXES

LIST_SUFFIXES = (".csv", ".tsv", ".jsonl")
Place = tuple[str, int]  # class and side


def label_by_folder(
    source: str,
    files: list[str],
    folders: list[str],
    reader: MakeReader,
    *,
    layout: str = "auto",
    read_head: Callable[[str], bytes],
) -> ImageSet:
    """Class and side of every image from the folders in which it lies.

    `read_head` gives the first bytes of a file. `layout` is auto, splits, classes or names.

    Raises:
        DataError: no images, no class folders, folders that can be read in two ways, or a set of another task.

    """
    names = image_names(files)
    kinds = FILE_SUFFIXES if not names or not is_array(names[0]) else {ARRAY_SUFFIX}
    others = []
    if len(names) < len(files):
        others = [name for name in files if os.path.splitext(name)[1].lower() not in kinds]  # noqa: PTH122
    own = find_own_outputs(others, names, read_head)
    names = own.without(names)
    lists = [name for name in others if name.lower().endswith(LIST_SUFFIXES) and not own.covers(name)]
    if not names:
        raise DataError(_no_images(source, others, own, lists))
    if layout == "names":
        return label_by_name(source, names, reader)
    counts = Counter(map(_folder_of, names))
    root = grow_tree(counts, [folder for folder in folders if not own.covers(folder)])
    try:
        found = read_layout(source, root, layout)
    except DataError as error:
        advice = _list_advice(source, lists) or offer_names(names) or tell_detection_set(names, others)
        raise type(error)(f"{error}{advice}") from None
    places, said = _place_folders(source, found)
    names, without = (names, []) if layout == "classes" else part_unlabelled(names, places)
    notes_on_them = note_on_folders([name for name in without if _folder_of(name) in places])
    places = {folder: place for folder, place in places.items() if not without or not names_no_class(folder)}
    classes = sorted({name for name, _ in places.values()})
    if len(classes) < 2 and layout == "auto":
        advice = _list_advice(source, lists) or offer_names(names) or tell_detection_set(names, others)
        if advice:
            raise DataError(f"{source} holds one folder with images, {classes[0]!r}{advice}")
    number = {name: index for index, name in enumerate(classes)}
    coded = {folder: (number[name], side) for folder, (name, side) in places.items()}
    inside = [name for name in names if _folder_of(name) in coded]
    kept = Names(inside)
    notes = [*own.notes(), *found.notes, *_note_strays(names, inside, places, found), *notes_on_them]
    own_files = sum(own.covers(name) for name in others)
    if num := len(others) - own_files:
        notes.append(f"{so_many(num, 'file')} {'is' if num == 1 else 'are'} no image by the suffix and left out")
    return ImageSet(
        source=source,
        classes=tuple(classes),
        names=kept,
        labels=np.fromiter((coded[_folder_of(name)][0] for name in inside), np.int64, len(inside)),
        splits=np.fromiter((coded[_folder_of(name)][1] for name in inside), np.int8, len(inside)),
        read=reader(kept),
        notes=tuple(notes),
        remarks=(*found.remarks, *said, *_empty_folders(found, own), *_lists_beside(source, lists)),
        unlabelled=_without_label(without, reader),
    )


def _without_label(names: list[str], reader: MakeReader) -> Unlabelled | None:
    kept = Names(names)
    return Unlabelled(kept, np.full(len(names), NOT_SPLIT, np.int8), reader(kept)) if names else None


def _folder_of(name: str) -> str:
    return name[: max(name.rfind("/"), 0)]


def _no_images(source: str, others: list[str], own: OwnOutputs, lists: list[str]) -> str:
    text = f"{source} holds no images (looked for {', '.join(sorted(FILE_SUFFIXES))})"
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in others if not own.covers(name))  # noqa: PTH122
    if suffixes:
        common = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(4))
        text += f"; its files are: {common}"
        if ".npz" in suffixes:
            text += " (arrays are given in Python, catseye.train(X, y), or as .npy files of one image each)"
    return "; ".join([text, *own.notes()]) + _list_advice(source, lists)


def _list_advice(source: str, lists: list[str]) -> str:
    if not lists:
        return ""
    first = min(lists, key=lambda name: (name.count("/"), name))
    if source.lower().endswith(".zip"):
        return f"; {printable_name(first)} in it may name the labels: unpack the zip and give that file as DATA"
    return (
        f"; {printable_name(first)} in it may name the labels: to use it, give {source}/{printable_name(first)} as DATA"
    )


def _lists_beside(source: str, lists: list[str]) -> list[str]:
    if not lists:
        return []
    shown = a_few(sorted(lists, key=lambda name: (name.count("/"), name)), 3)
    name = printable_name(lists[0]) if len(lists) == 1 else f"NAME{os.path.splitext(lists[0])[1]}"  # noqa: PTH122
    how = "unpack the zip and give the list" if source.lower().endswith(".zip") else f"give {source}/{name}"
    return [f"labels are read from the folders, not from {shown} in DATA; to use a list, {how} as DATA"]


def _place_folders(source: str, found: Layout) -> tuple[dict[str, Place], list[str]]:
    """Folder with images -> class and side, and what is to be said about the names of the classes."""
    rows = [(root.path, child, side, child.walk()) for root, side in found.roots for child in root.full]
    rows += [(folder.path, folder, side, part.walk()) for folder, side, part in found.by_class]
    for _, folder, _, _ in rows:
        _refuse_unreadable_name(source, folder)
    names, said = _class_names_of([(root, folder.name, side) for root, folder, side, _ in rows])
    return {
        folder.path: (names[top.name], side) for _, top, side, folders in rows for folder in folders if folder.direct
    }, said


def _refuse_unreadable_name(source: str, folder: Folder) -> None:
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{source}: the class folder {printable_name(folder.path)} has a name that is not UTF-8, and the model "
            "carries the names of its classes; rename it, for example with: convmv -f latin1 -t utf8 --notest -r DATA"
        ) from None


def _class_names_of(rows: Sequence[tuple[str, str, int]]) -> tuple[dict[str, str], list[str]]:
    """Folder name -> class: one class where only Unicode's form differs, or only the case from split to split.

    `rows` are (folder above, name, side). macOS writes é as two signs, Windows and Linux as one.
    """
    said: list[str] = []
    composed = {name: unicodedata.normalize("NFC", name) for _, name, _ in rows}
    twice = sorted({composed[name] for name in composed if composed[name] != name and composed[name] in composed})
    if twice:
        said.append(
            f"{a_few(twice)}: folders whose names differ in the Unicode form of their letters only are one class"
        )
    above: dict[str, dict[str, set[str]]] = {}  # folded name -> name -> the folders in which it stands
    for place, name, _ in rows:
        above.setdefault(composed[name].casefold(), {}).setdefault(composed[name], set()).add(place)
    trained = {composed[name] for _, name, side in rows if side in (TRAIN, NOT_SPLIT)}
    for variants in above.values():
        apart = [place for places in variants.values() for place in places]
        if len(variants) > 1 and len(apart) == len(set(apart)):  # never two of them side by side
            chosen = min(variants, key=lambda name: (name not in trained, name))
            for name in composed:
                if composed[name] in variants:
                    composed[name] = chosen
            said.append(f"{a_few(sorted(variants))} differ by case only from split to split: one class, {chosen!r}")
    return composed, said


def _note_strays(names: list[str], inside: list[str], places: dict[str, Place], found: Layout) -> list[str]:
    """A note on images outside the class folders, but for those of folders that a note of its own names."""
    if len(inside) == len(names):
        return []
    known = tuple(f"{folder.path}/" for folder in found.left_out)
    outside = [name for name in names if _folder_of(name) not in places and not (known and name.startswith(known))]
    if not outside:
        return []
    verb = "lies" if len(outside) == 1 else "lie"
    be = "is" if len(outside) == 1 else "are"
    return [
        f"{so_many(len(outside), 'image')} {verb} outside the class folders and {be} left out, "
        f"e.g. {printable_name(outside[0])}"
    ]


def _empty_folders(found: Layout, own: OwnOutputs) -> list[str]:
    looked_at = [*found.passed, *(root for root, _ in found.roots), *(folder for folder, _, _ in found.by_class)]
    empty = {child.path for folder in looked_at for child in folder.empty if not own.below(child.path)}
    if not empty:
        return []
    verb = "folder holds no images and is no class" if len(empty) == 1 else "folders hold no images and are no classes"
    return [f"{len(empty):,} {verb}: {a_few(sorted(empty))}"]
