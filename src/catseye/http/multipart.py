"""The parts of a `multipart/form-data` body, in one pass of `bytes.find`.

Enters: the Content-Type and the body. Leaves: the parts, as slices. Everything is bounded. Stricter than browsers need:
no nested parts, no transfer encodings, no folded header lines. Called by `images.py`.

Source: RFC 7578, RFC 2046 section 5.1 (boundary of 1 to 70 characters).
"""

import re
from typing import NamedTuple

from catseye.http.fields import read_field
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal

_ALLOWED = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{1,70}(?<! )")


class Part(NamedTuple):
    """One field. The client's file name is not kept: nothing needs it."""

    name: bytes
    content: bytes


def parse(content_type: bytes, body: bytes, limits: Limits) -> list[Part]:
    """Split a body into its parts.

    Raises:
        Refusal: 400, it is not well formed or has more parts or longer part headers than allowed.

    """
    kind, parameters = read_field(content_type) or (b"", {})
    boundary = parameters.get(b"boundary", b"") if kind == b"multipart/form-data" else b""
    if not _ALLOWED.fullmatch(boundary):
        raise _malformed_form(
            "Content-Type needs a boundary of 1 to 70 plain characters", f"{len(boundary)} characters"
        )
    delimiter = b"\r\n--" + boundary
    if body.startswith(delimiter[2:]):
        position = len(delimiter) - 2
    else:
        start = body.find(delimiter)
        if start < 0:
            raise _malformed_form("the body should begin with the boundary", "none")
        position = start + len(delimiter)
    parts: list[Part] = []
    while not body.startswith(b"--", position):
        # Spaces between boundary and line end are allowed (RFC 2046), but only a few.
        line_end = body.find(b"\r\n", position, position + 64)
        if line_end < 0 or body[position:line_end].strip(b" \t"):
            raise _malformed_form("a line end should follow the boundary", "something else")
        if len(parts) == limits.max_parts:
            raise _malformed_form(f"a form has at most {limits.max_parts} parts", "more")
        # From line_end, not after it: a part without headers has its blank line right there.
        head_end = body.find(b"\r\n\r\n", line_end, line_end + limits.part_header_bytes + 4)
        if head_end < 0:
            raise _malformed_form(f"the headers of a part end within {limits.part_header_bytes:,} bytes", "no end")
        end = body.find(delimiter, head_end + 2)
        if end < 0:
            raise _malformed_form("the last part should end with the boundary", "a truncated body")
        parts.append(Part(_field_name(body[line_end + 2 : head_end]), body[head_end + 4 : end]))
        position = end + len(delimiter)
    return parts


def _field_name(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            field = read_field(value)
            if field and b"name" in field[1]:
                return field[1][b"name"]
    raise _malformed_form("every part needs a Content-Disposition with a name", "a part without")


def _malformed_form(rule: str, got: str) -> Refusal:
    return Refusal(400, "malformed-form", f"{rule}; got {got}; curl -F file=@cat.jpg makes such a form")
