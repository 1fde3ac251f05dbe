"""The images in the body of a request to the server or to the Lambda function.

Enters: Content-Type and body. Leaves: the bytes of each image. Called by app and aws_lambda.
"""

from catseye.http.limits import Limits
from catseye.http.multipart import parse
from catseye.http.refusals import Refusal

FIELD = b"file"


def one_image(content_type: bytes, body: bytes, limits: Limits) -> bytes:
    """The image of a `POST /predict`: the body itself, or the form field `file`.

    Raises:
        Refusal: 400 no or several images, 415 a Content-Type that is neither.

    """
    images = images_of(content_type, body, limits)
    if len(images) != 1:
        raise Refusal(
            400, "one-image", f"this path classifies one image; got {len(images)}; send several to /predict/batch"
        )
    return images[0]


def images_of(content_type: bytes, body: bytes, limits: Limits) -> list[bytes]:
    """All images of a form, in order; or the body, as the only one.

    The form fields must be called `file`.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"multipart/form-data":
        parts = parse(content_type, body, limits)
        images = [part.content for part in parts if part.name == FIELD]
        if not images:
            raise Refusal(
                400, "no-image", 'the form needs a field called "file"; got none; curl -F file=@cat.jpg sends it'
            )
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        images = [body]
    else:
        raise Refusal(
            415,
            "unknown-content-type",
            "the Content-Type should be multipart/form-data, image/* or application/octet-stream; got another; "
            "curl -F file=@cat.jpg sends the first",
        )
    for image in images:
        if not image:
            raise Refusal(400, "empty-image", "an image has at least one byte; got 0; check the file and send it again")
    return images


def require_plain(encoding: bytes) -> None:
    """Refuse a compressed body.

    A few kilobytes could unfold into gigabytes, and images are compressed already.

    Raises:
        Refusal: 415.

    """
    if encoding.strip().lower() not in (b"identity", b""):
        raise Refusal(415, "encoded-body", "a body must not be encoded; got a content-encoding; leave that header out")
