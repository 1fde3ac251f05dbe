"""An answer before it is sent, and how a refusal becomes one. Used by app and inference_v2."""

import json
from typing import Any, NamedTuple

from catseye.http.refusals import Refusal

# What a browser is told about every answer: nothing may be guessed, framed or kept.
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Response(NamedTuple):
    """Status, body and headers."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = SAFE_HEADERS


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON answer; NaN in it would be a fault of ours and raises."""
    return Response(_as_bytes(content), status)


def _as_bytes(content: Any) -> bytes:
    try:
        return _encode(content).encode()
    except UnicodeEncodeError:  # a lone surrogate, which a name of a class or an id of a client may hold
        return _encode_ascii(content).encode()


def refused(refusal: Refusal, request_id: str) -> Response:
    """What a caller reads: the sentence, the code, and the id under which the log knows the request."""
    content = {"error": refusal.message, "code": refusal.code}
    if request_id:
        content["request_id"] = request_id
    headers = list(SAFE_HEADERS)
    if refusal.retry_after_s:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.allow:
        headers.append((b"allow", refusal.allow.encode()))
    return Response(_as_bytes(content), refusal.status, headers=tuple(headers))
