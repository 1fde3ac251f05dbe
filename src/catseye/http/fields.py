"""The parameters of a header's value.

Enters: bytes such as `form-data; filename="a; name=b.png"; name="file"`. Leaves: the first word in lower case, and the
parameters. Called by `multipart.py`.

Source: RFC 9110 sections 5.6.4 (quoted strings) and 5.6.6 (parameters: names in any case).
"""

import re

_PARAMETER = re.compile(rb"""[ \t]*;[ \t]*(?:([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]*)))?""")


def read_field(value: bytes) -> tuple[bytes, dict[bytes, bytes]] | None:
    """The word and its parameters; None if malformed or a parameter appears twice.

    >>> read_field(b'Form-Data; filename="a; name=x.png"; NAME=file')
    (b'form-data', {b'filename': b'a; name=x.png', b'name': b'file'})

    """
    word, _, _ = value.partition(b";")
    position = len(word)
    parameters: dict[bytes, bytes] = {}
    value = value.rstrip(b" \t")
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is None:  # "; ;" and a semicolon at the end
            continue
        name = match[1].lower()
        if name in parameters:
            return None
        parameters[name] = match[2] if match[2] is not None else match[3]
    return word.strip().lower(), parameters
