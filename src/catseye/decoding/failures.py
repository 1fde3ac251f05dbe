"""Errors for images that could not be decoded: name, cause, next step.

Enters: any error of Pillow's plugins. Leaves: `ImageError` or a subclass, or `OutOfMemory`, which is not the image's
fault. Called by preprocess.py and planes.py.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from catseye.decoding.names import name_of
from catseye.errors import ImageCutOff, ImageError, ImageTooLarge, OutOfMemory, UnknownFormat, UnsupportedPixels

# Pillow's plugins raise all of these on damaged files.
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    IndexError,
    TypeError,
    struct.error,
    OverflowError,
    KeyError,
    AttributeError,
    RuntimeError,
)


@contextmanager
def naming(name: str, source: bytes | Image.Image, formats: tuple[str, ...], num_bytes: int) -> Iterator[None]:
    """Turn errors of Pillow, and our own without a subject, into errors with a name."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{name} {error}") from None
    except UnidentifiedImageError:
        assert isinstance(source, bytes)
        cause = _unidentified(source, formats)
        raise type(cause)(f"{name} {cause}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, while it reads the header
        raise ImageTooLarge(f"{name} has more pixels than are read; make it smaller") from None
    except MemoryError:
        raise OutOfMemory(f"decoding {name} takes about {num_bytes / 1e6:,.0f} MB; that much is not free") from None
    except BROKEN as error:
        if "text chunks" in str(error):  # Pillow says "too much memory", but means its own limit
            raise ImageError(f"{name} holds more text than is read with an image; save it without the text") from None
        # libwebp and libjpeg also report "broken" when they got no memory.
        if "memory" in str(error) or not _can_allocate(num_bytes):
            raise OutOfMemory(f"decoding {name} takes about {num_bytes / 1e6:,.0f} MB; that much is not free") from None
        if "truncated" in str(error).lower():
            raise ImageCutOff(f"{name} is cut off and cannot be decoded completely ({error})") from None
        raise ImageError(f"{name} cannot be decoded completely ({error})") from None


def is_pointer(content: bytes) -> bool:
    r"""Whether this is a Git LFS pointer: the file itself has not been fetched yet.

    >>> is_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    True
    """
    return content.startswith(b"version https://git-lfs")


def _can_allocate(num_bytes: int) -> bool:
    try:
        np.empty(num_bytes, np.uint8)
    except MemoryError:
        return False
    return True


def _unidentified(content: bytes, formats: tuple[str, ...]) -> ImageError:
    """Why none of Pillow's plugins accepts these bytes."""
    if is_pointer(content):
        return UnknownFormat("is a Git LFS pointer, not the image itself; run: git lfs pull")
    known = name_of(content)
    if known in formats:
        if known == "TIFF":
            return UnsupportedPixels(
                "is a TIFF with a kind of pixels that is not read (complex numbers, for example), or damaged; save it "
                "as PNG"
            )
        return ImageCutOff(f"begins as {known}, but its header is cut off or damaged; copy it again")
    listed = ", ".join(formats)
    if known == "HEIC" and "HEIF" in formats:
        return ImageCutOff("begins as HEIC, but its header is cut off or damaged; copy it again")
    if known == "HEIC":
        return UnknownFormat(
            f"is HEIC, which cannot be read here (only {listed}); save it as JPEG, or: pip install 'catseye[heif]'"
        )
    if known:
        return UnknownFormat(f"is {known}, which cannot be read here (only {listed})")
    return UnknownFormat(f"is not in a format that can be read here ({listed})")
