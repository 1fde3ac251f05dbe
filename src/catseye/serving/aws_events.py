"""Events of API Gateway and of function URLs as requests, and their responses.

Enters: an event of API Gateway (REST or HTTP) or of a function URL, payload format 1.0 or 2.0. Leaves: `Call`; or a
response as the dictionary that they expect. Called by aws_lambda.

Source: AWS Lambda Developer Guide, "Working with AWS Lambda proxy integrations for HTTP APIs" (both formats), "Lambda
quotas" (6 MB for request and response).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from catseye.http.refusals import Refusal
from catseye.http.responses import Response

LAMBDA_BYTES = 6_291_456  # of one event or one response, as JSON
# As base64 this takes 6,000,000 of them; the rest is for headers and everything else in an event.
BODY_BYTES = 4_500_000
ANSWER_BYTES = 6_000_000
LOST = "\ufffd"  # replaces bytes that were not UTF-8


@dataclass(frozen=True)
class Call:
    """One request, in whichever format it came. Header names are in lower case."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes


def read_event(event: Any, max_body_bytes: int = BODY_BYTES) -> Call:
    """The request in an event.

    Raises:
        Refusal: 400 it is not such an event, or its image was damaged on the way; 413 the body is too long.

    """
    if not isinstance(event, Mapping):
        raise _unknown("no object")
    context = _table(event, "requestContext")
    route = context.get("http")
    if isinstance(route, Mapping):  # format 2.0
        method, path = route.get("method"), event.get("rawPath")
        query = str(event.get("rawQueryString") or "")
        stage = f"/{context.get('stage')}"
        if isinstance(path, str) and (path == stage or path.startswith(f"{stage}/")):
            path = path[len(stage) :]
    else:  # format 1.0, whose queries are decoded already
        method, path = event.get("httpMethod"), event.get("path")
        several = _table(event, "multiValueQueryStringParameters") or _table(event, "queryStringParameters")
        query = urlencode(several, doseq=True, errors="replace")
    if not isinstance(method, str) or not isinstance(path, str):
        raise _unknown(", ".join(map(str, list(event)[:8])) or "an empty one")
    # With a base path mapping of a custom domain, only this holds the requested path.
    proxy = _table(event, "pathParameters").get("proxy")
    headers = _headers(event)
    body = _event_body(event, max_body_bytes)
    return Call(method.upper(), f"/{proxy}" if proxy else path or "/", query.encode("ascii", "replace"), headers, body)


def _table(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One of the event's tables; empty if it is missing or null.

    Raises:
        Refusal: 400, it is not a table.

    """
    table = event.get(name) or {}
    if not isinstance(table, Mapping):
        raise _unknown(f"an event whose {name} is not an object")
    return table


def _headers(event: Mapping[str, Any]) -> dict[bytes, bytes]:
    several = _table(event, "multiValueHeaders")
    # Several headers of one name are one list (RFC 9110 5.3): two Authorization headers match no token.
    pairs = {
        name: ", ".join(map(str, values)) if isinstance(values, list) else values
        for name, values in several.items()
        if values
    } or _table(event, "headers")
    return {
        str(name).lower().encode("latin-1", "replace"): str(value).encode("utf-8", "replace")
        for name, value in pairs.items()
    }


def _event_body(event: Mapping[str, Any], max_bytes: int) -> bytes:
    text = event.get("body") or ""
    if not isinstance(text, str):
        raise _unknown("a body that is not text")
    in_base64 = bool(event.get("isBase64Encoded"))
    num_bytes = len(text) * 3 // 4 - text[-2:].count("=") if in_base64 else len(text.encode("utf-8", "replace"))
    if num_bytes > max_bytes:
        raise Refusal(
            413,
            "body-too-large",
            f"a body may have at most {max_bytes:,} bytes, because AWS Lambda accepts {LAMBDA_BYTES:,} bytes per call "
            f"and base64 makes an image a third longer; got {num_bytes:,}; send a smaller image",
        )
    if not in_base64:
        if LOST in text:
            raise Refusal(
                400,
                "image-damaged",
                "the image arrived as text and lost bytes on the way; the API has to pass bodies on unchanged: set "
                "BinaryMediaTypes: ['*/*'] of a REST API; HTTP APIs and function URLs need no setting",
            )
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _unknown("a body that is marked as base64 and is not") from None


def _unknown(got: str) -> Refusal:
    return Refusal(
        400,
        "unknown-event",
        f"an event comes from API Gateway (format 1.0 or 2.0) or from a function URL; got {got}; "
        "send an HTTP request to one of these",
    )


def to_answer(response: Response, request_id: str, version: str = "", *, without_body: bool = False) -> dict[str, Any]:
    """The response as the dictionary that API Gateway and function URLs expect."""
    headers = {
        "content-type": response.content_type.decode(),
        "x-request-id": request_id,
        **{name.decode(): value.decode() for name, value in response.headers},
    }
    if version:
        headers["x-catseye-model"] = version
    body = "" if without_body else response.body.decode()
    return {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": False}


def require_small(response: Response) -> Response:
    """The same response, if Lambda will pass it on.

    Raises:
        Refusal: 413, it is too long, as with a hundred thousand classes.

    """
    # Lambda's response holds the body as a JSON string, with every quotation mark escaped.
    if len(response.body) > ANSWER_BYTES // 3 and len(json.dumps(response.body.decode())) > ANSWER_BYTES:
        raise Refusal(
            413,
            "answer-too-large",
            f"a response may have at most {ANSWER_BYTES:,} bytes, because AWS Lambda passes on no more; got a longer "
            "one; request only the best classes, ?top=5",
        )
    return response
