"""What a file is, by its first bytes: an error can say that it is a web page.

Called by failures.py when no decoder accepts the bytes.
"""

_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\3\4", "a zip"),
    (b"\x1f\x8b", "a gzip file"),
    (b"<svg", "an SVG"),
)
_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIC",
    b"heim": "HEIC",
    b"hevc": "HEIC",
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"mp42": "a video",
}


def name_of(content: bytes) -> str:
    r"""The name of a format, or of a kind of file with its article; empty if unknown.

    >>> name_of(b"  <!DOCTYPE html><html>Not found"), name_of(b"\0\0\0\x18ftypheic")
    ('a web page (HTML)', 'HEIC')
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "")
    for beginning, name in _BEGINNINGS:
        if content.startswith(beginning):
            return name
    head = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML)"
    if head.startswith(b"<?xml"):
        return "an SVG" if b"<svg" in head else "an XML file"
    return ""
