"""The query parameters: ?top=N, ?explain=cam. Called by app and aws_lambda."""

from urllib.parse import parse_qsl

from catseye.http.refusals import Refusal


def read_options(query: bytes, *, has_cam: bool) -> tuple[int | None, bool]:
    """How many classes are wanted (None: all), and whether the activation map is.

    Raises:
        Refusal: 400, the query has any other parameter or value.

    >>> read_options(b"top=3", has_cam=False)
    (3, False)

    """
    if not query:
        return None, False
    top, with_cam = None, False
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise Refusal(400, "bad-query", "a query looks like ?top=5&explain=cam; got something else") from None
    for name, value in pairs:
        if name == "top" and value.isascii() and value.isdigit() and int(value[:9]) > 0:
            top = int(value[:9])
        elif name == "explain" and value == "cam":
            if not has_cam:
                raise Refusal(400, "no-cam", "this model carries no class-activation map; leave out explain=cam")
            with_cam = True
        else:
            raise Refusal(400, "bad-query", "a query has ?top=N, N from 1, and ?explain=cam; got something else")
    return top, with_cam
