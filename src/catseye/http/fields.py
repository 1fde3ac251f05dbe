"""The parameters behind a header's value, read in order: `form-data; filename="a; name=b.png"; name="file"`.

Enters: bytes. Leaves: the first word, small letters, and the parameters. Called by `multipart.py`.

Source: RFC 9110 sections 5.6.4 (quoted strings) and 5.6.6 (parameters: names in any case).
"""

import re

_PARAMETER = re.compile(rb"""[ \t]*;[ \t]*(?:([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]*)))?""")


def read_field(value: bytes) -> tuple[bytes, dict[bytes, bytes]] | None:
    """The word and its parameters; None where it is no such value or names one of them twice.

    >>> read_field(b'Form-Data; filename="a; name=x.png"; NAME=file')
    (b'form-data', {b'filename': b'a; name=x.png', b'name': b'file'})

    """
    word, _, _ = value.partition(b";")
    position = len(word)
    found: dict[bytes, bytes] = {}
    value = value.rstrip(b" \t")
    while position < len(value):
        one = _PARAMETER.match(value, position)
        if one is None:
            return None
        position = one.end()
        if one[1] is None:  # "; ;" and a semicolon at the end
            continue
        name = one[1].lower()
        if name in found:
            return None
        found[name] = one[2] if one[2] is not None else one[3]
    return word.strip().lower(), found
