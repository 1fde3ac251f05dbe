"""A refused request's response: status, code for programs, message for people.

Raised anywhere between the first byte of a request and its response; `app.py` and `aws_lambda.py` turn it into a
response.
"""

import hmac

from catseye.errors import ImageError, ImageTooLarge, UnknownFormat


class Refusal(Exception):
    """A refused request.

    The message states the rule, the value received and the next step, never a path of the server.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: int = 0, close: bool = False, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s, self.close, self.allow = retry_after_s, close, allow


def of_image(error: ImageError) -> Refusal:
    """The refusal of an image that cannot be read."""
    message = f"{error}; send one JPEG, PNG, WebP, BMP or GIF"
    if isinstance(error, ImageTooLarge):
        return Refusal(413, "image-too-large", message)
    if isinstance(error, UnknownFormat):
        return Refusal(415, "unknown-format", message)
    return Refusal(400, "unreadable-image", message)


def of_failure(failure: Exception, deadline_s: float) -> Refusal:
    """The refusal for any failure between the image's bytes and its probabilities."""
    if isinstance(failure, ImageError):
        return of_image(failure)
    if isinstance(failure, TimeoutError):
        return Refusal(504, "too-late", f"an answer takes at most {deadline_s:g} s; this one took longer; try again")
    if isinstance(failure, ArithmeticError):
        return Refusal(500, "not-finite", f"{failure}; report it to the author of the model")
    if isinstance(failure, MemoryError) or "alloc" in str(failure).lower():
        return Refusal(503, "out-of-memory", "this image needs more memory than is free; try later", retry_after_s=5)
    return Refusal(500, "model-failed", "the model failed on this image; the server's log says more")


def wrong_method(allowed: str) -> Refusal:
    """The refusal of a method that the path does not accept."""
    return Refusal(405, "unknown-method", f"this path takes {allowed}; got another method", allow=allowed)


def require_token(sent: bytes, token: bytes) -> None:
    """Compare the header Authorization with the secret, in constant time.

    Raises:
        Refusal: 401.

    """
    scheme, _, secret = sent.strip().partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(secret.strip(), token):
        raise Refusal(
            401, "token-needed", "this server needs the header Authorization: Bearer TOKEN; got none that fits"
        )
