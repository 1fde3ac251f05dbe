"""Masks in folders beside the images: images/1.png, masks/1.png.

Enters: the names of all images of DATA. Leaves: the names of those that are no masks, and a note. Called by
labelled.py.
"""

from collections import defaultdict

from catseye.counting import agree, count
from catseye.data.sources.image_set import a_few
from catseye.data.sources.split_names import is_description, is_wrapper


def leave_masks_out(names: list[str], *, alone: bool) -> tuple[list[str], list[str]]:
    """Without the images in folders that describe others, and a note on them.

    Such a folder is called masks, annotations … and, unless it counts `alone`, is beside a folder of images and not
    directly in DATA: there both may be classes, which layout.py asks about.

    >>> leave_masks_out(["flu/images/1.png", "flu/masks/1.png", "well/2.png"], alone=False)
    (['flu/images/1.png', 'well/2.png'], ["1 image in 'flu/masks/' is left out as a mask"])
    """
    children: dict[str, set[str]] = defaultdict(set)  # folder -> the names of the folders in it
    folders = {name.rpartition("/")[0] for name in names}
    for folder in folders:
        above, _, last = folder.rpartition("/")
        while last:
            children[above].add(last)
            above, _, last = above.rpartition("/")

    def describes(above: str, last: str) -> bool:
        beside = bool(above) and any(map(is_wrapper, children[above] - {last}))
        return is_description(last) and (alone or beside)

    tops = {
        f"{above}/{last}/".lstrip("/") for above in list(children) for last in children[above] if describes(above, last)
    }
    masks = {folder for folder in folders if f"{folder}/".startswith(tuple(tops))}
    rest = [name for name in names if name.rpartition("/")[0] not in masks]
    if not masks or not rest:
        return names, []
    num, shown = len(names) - len(rest), a_few(sorted(f"{folder}/" for folder in masks), 3)
    return rest, [f"{count(num, 'image')} in {shown} {agree(num, 'is left out as a mask', 'are left out as masks')}"]
