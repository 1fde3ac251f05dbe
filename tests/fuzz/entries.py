"""A zip written down as its entries: `E`, then name and content in turn, parted by a mark. `P` begins a zip as it is.

A mutation of a zip's bytes breaks a checksum and is refused there; a mutation of this text reaches the readers behind.
"""

import io
import warnings
import zipfile

MARK = b"\xff\xfd\xfe"


def as_entries(content: bytes) -> bytes:
    """A zip's entries as text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pieces = [piece for one in archive.infolist() for piece in (one.filename.encode(), archive.read(one))]
    return b"E" + MARK.join(pieces)


def as_zip(text: bytes) -> bytes:
    """The zip that `text` stands for."""
    if text[:1] != b"E":
        return text[1:]
    pieces = text[1:].split(MARK)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name are meant
        for name, content in zip(pieces[::2], pieces[1::2], strict=False):
            # Every second one is packed, by its name's length: both ways are read.
            how = zipfile.ZIP_DEFLATED if len(name) % 2 else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name.decode("utf-8", "replace")[:200] or "x"), content, how)
    return stream.getvalue()
