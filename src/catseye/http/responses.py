"""A response before it is sent, also for a refusal. Used by app and inference_v2."""

import json
from typing import Any, NamedTuple

from catseye.http.refusals import Refusal

# No browser may guess the type of a response, frame it or store it.
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
    """A JSON response; NaN in it would be a bug and raises."""
    return Response(_as_bytes(content), status)


def _as_bytes(content: Any) -> bytes:
    try:
        return _encode(content).encode()
    except UnicodeEncodeError:  # a lone surrogate in the name of a class or the id of a client
        return _encode_ascii(content).encode()


def refused(refusal: Refusal, request_id: str) -> Response:
    """The response to a refused request: message, code, the request's id in the log."""
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
