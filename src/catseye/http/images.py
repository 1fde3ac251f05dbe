"""The pictures in a request's body, whichever way it came: through the server's socket or in an event of Lambda.

Enters: Content-Type and body. Leaves: the bytes of each picture. Called by app and aws_lambda.
"""

from catseye.http.limits import Limits
from catseye.http.multipart import parse
from catseye.http.refusals import Refusal

FIELD = b"file"


def one_picture(content_type: bytes, body: bytes, limits: Limits) -> bytes:
    """The picture of a `POST /predict`: the body itself, or the form field `file`.

    Raises:
        Refusal: 400 no or several pictures, 415 a Content-Type that is neither.

    """
    pictures = pictures_of(content_type, body, limits)
    if len(pictures) != 1:
        raise Refusal(
            400, "one-picture", f"one picture is classified here; got {len(pictures)}; send several to /predict/batch"
        )
    return pictures[0]


def pictures_of(content_type: bytes, body: bytes, limits: Limits) -> list[bytes]:
    """All pictures of a form, in order; the form fields must be called `file`. Or the body, as the only one."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"multipart/form-data":
        parts = parse(content_type, body, limits)
        pictures = [part.content for part in parts if part.name == FIELD]
        if not pictures:
            raise Refusal(
                400, "no-picture", 'the form needs a field called "file"; got none; curl -F file=@cat.jpg sends it'
            )
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        pictures = [body]
    else:
        raise Refusal(
            415,
            "unknown-content-type",
            "the Content-Type should be multipart/form-data, image/* or application/octet-stream; got another; "
            "curl -F file=@cat.jpg sends the first",
        )
    for picture in pictures:
        if not picture:
            raise Refusal(400, "empty-picture", "a picture has bytes; got 0; check the file and send it again")
    return pictures


def require_plain(encoding: bytes) -> None:
    """Refuse a compressed body: a few kilobytes could unfold into gigabytes, and pictures are compressed already.

    Raises:
        Refusal: 415.

    """
    if encoding != b"identity":
        raise Refusal(415, "encoded-body", "a body is sent as it is; got a content-encoding; leave that header out")
