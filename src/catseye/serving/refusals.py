"""What a caller is told when a request cannot be answered: a status, a short code for programs, a sentence for people.

Raised anywhere between the first byte of a request and its answer; `app.py` turns it into a response.
"""

from catseye.errors import ImageError, PictureTooLarge, UnknownFormat


class Refusal(Exception):
    """A request that is not answered. The message says rule, value received, next step; never a path of ours."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: int = 0, close: bool = False, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s, self.close, self.allow = retry_after_s, close, allow


def of_picture(error: ImageError) -> Refusal:
    """The refusal that fits a picture which cannot be read."""
    message = f"{error}; send one JPEG, PNG, WebP, BMP or GIF"
    if isinstance(error, PictureTooLarge):
        return Refusal(413, "picture-too-large", message)
    if isinstance(error, UnknownFormat):
        return Refusal(415, "unknown-format", message)
    return Refusal(400, "unreadable-picture", message)
