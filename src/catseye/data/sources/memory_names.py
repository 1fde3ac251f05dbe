"""Names for images that were given in Python: `memory:…`.

Enters: an `ImageSet`. Leaves: the same with such a name, and again by that name. Called by given.py, open_data.py and
`data/moved.py`. Nothing is copied: a name is valid while this process uses the images.
"""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any
from weakref import finalize, ref

from catseye.data.sources.image_set import ImageSet
from catseye.errors import DataError, ImageError
from catseye.preprocess import Pixels

PREFIX = "memory:"
NAMED_BY = 32  # images whose contents go into the name
# A name is valid as long as their reader is referenced, as it is by everything made from the images.
_READERS: dict[str, list[ref[Any]]] = {}  # equal images may have been given several times
_LISTED: dict[str, ImageSet] = {}  # their readers would keep them in memory


def images_in_use(name: str) -> ImageSet:
    """The images of this name.

    Raises:
        DataError: they are no longer in memory, or were given to another process.

    """
    reader = next((reader for reference in _READERS.get(name, ()) if (reader := reference()) is not None), None)
    if reader is None:
        raise DataError(
            f"the images were given in Python ({name}) and are no longer in memory; give them again: "
            "data=(images, labels)"
        )
    return replace(_LISTED[name], read=reader)


def name_in_memory(images: ImageSet) -> ImageSet:
    """The same with a name in memory, derived from its labels and some contents."""
    digest = sha256(images.labels.tobytes() + repr((images.classes, len(images))).encode())
    digest.update(images.splits.tobytes())
    for index in range(0, len(images), max(1, len(images) // NAMED_BY)):
        digest.update(images.names[index].encode("utf-8", "surrogateescape"))
        with suppress(ImageError):  # reported when all images are looked at
            content = images.read(index)
            digest.update(content if isinstance(content, bytes) else content.tobytes())
    named = replace(images, source=f"{PREFIX}{images.source}-{digest.hexdigest()[:12]}")
    _READERS.setdefault(named.source, []).append(ref(named.read))
    _LISTED[named.source] = replace(named, read=_ReaderGone())
    finalize(named.read, _forget, named.source)
    return named


def _forget(name: str) -> None:
    _READERS[name] = [reference for reference in _READERS.get(name, ()) if reference() is not None]
    if not _READERS[name]:
        del _READERS[name], _LISTED[name]


class _ReaderGone:
    """Takes the place of a reader that is referenced elsewhere."""

    def __call__(self, index: int) -> bytes | Pixels:
        raise ImageError("the images were given in Python and are no longer in memory; give them again")

    def size_bytes(self, index: int) -> int:
        raise ImageError("the images were given in Python and are no longer in memory; give them again")
