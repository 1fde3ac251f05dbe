"""The OpenAPI description of the server, with the model's classes in examples.

Enters: the model and the limits. Leaves: a dictionary, served as /openapi.json and drawn by /docs. Called by `app.py`.
"""

from typing import Any

from catseye.http.limits import Limits
from catseye.serving.served_model import ServedModel

_STRING = {"type": "string"}
_NUMBER = {"type": "number"}
_BINARY = {"type": "string", "format": "binary"}


def document(model: ServedModel, limits: Limits, *, with_token: bool) -> dict[str, Any]:
    """The description of the server, in OpenAPI 3.1.

    Statuses that any route may return (400 for broken HTTP, 408, 431) are only in the text.
    """
    from catseye import __version__

    secured: list[Any] = [{"token": []}] if with_token else []
    paths: dict[str, Any] = {
        "/predict": {"post": _predict(limits) | {"security": secured}},
        "/predict/batch": {"post": _predict_batch(limits) | {"security": secured}},
        "/model": {"get": _get("What the model file says about itself", _ref("Model"), secured)},
        "/healthz": {"get": _get("The process is alive", _status("alive"), [])},
        "/readyz": {"get": _get("Requests are accepted", _status("ready"), [], extra={"503": "Shutting down"})},
        "/metrics": {"get": _text("For Prometheus", secured)},
        "/v2": {"get": _get("Open Inference Protocol: the server", {"type": "object"}, secured)},
        "/v2/health/live": {"get": _get("Open Inference Protocol: alive", {"type": "object"}, [])},
        "/v2/health/ready": {
            "get": _get("Open Inference Protocol: ready", {"type": "object"}, [], extra={"503": "No"})
        },
        f"/v2/models/{model.name}": {
            "get": _get("Open Inference Protocol: inputs and outputs", {"type": "object"}, secured)
        },
        f"/v2/models/{model.name}/infer": {"post": _infer(model) | {"security": secured}},
    }
    components: dict[str, Any] = {"schemas": _schemas(model)}
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"catseye: {model.name}",
            "version": __version__,
            "description": "Classifies images. Errors have a message for people and a code for programs. Any "
            "request may also be answered with 400, 408 or 431 (broken or slow HTTP), 401 (no token, but one is "
            "needed), 413 (too large), 503 (busy; see Retry-After) or 504 (too late).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


def _schemas(model: ServedModel) -> dict[str, Any]:
    classes = list(model.manifest.classes)
    shares = {"type": "object", "additionalProperties": _NUMBER}
    example = {"class": classes[0], "confidence": 97.31, "all_probabilities": dict.fromkeys(classes[:1], 97.31)}
    prediction: dict[str, Any] = {
        "type": "object",
        "required": ["class", "confidence", "all_probabilities"],
        "properties": {
            "class": _STRING,
            "confidence": {"type": "number", "description": "Percent, two decimals"},
            "all_probabilities": shares,
            "unknown": {"type": "boolean", "description": "Below a threshold of the model: do not trust the class"},
            "familiarity": {
                "type": "number",
                "minimum": -1,
                "maximum": 1,
                "description": "Only with unknown: the image looks like none of the training images; the cosine of its "
                "features to the nearest centre of a class is below the model's familiarity_threshold",
            },
            "cam": {"type": "string", "description": "data: URL of a PNG to lay over the image"},
        },
        "examples": [example],
    }
    failed = {
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": _STRING, "code": _STRING, "request_id": _STRING},
    }
    item = {"type": "object", "required": ["status"], "properties": {"status": {"type": "integer"}}}
    return {
        "Prediction": prediction,
        "Predictions": {
            "type": "object",
            "required": ["predictions"],
            "properties": {"predictions": {"type": "array", "items": item}},
        },
        "Error": failed,
        "Model": {"type": "object", "required": ["name", "version", "classes"]},
    }


def _predict(limits: Limits) -> dict[str, Any]:
    form = {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
    return {
        "summary": "Classify one image",
        "description": f"JPEG, PNG, WebP, BMP or the first frame of a GIF; at most {limits.body_bytes:,} bytes and "
        f"{limits.max_pixels:,} pixels.",
        "parameters": _options(),
        "requestBody": _body({"multipart/form-data": {"schema": form}, "image/*": {"schema": _BINARY}}),
        "responses": _responses("Prediction", "400", "413", "415", "503", "504"),
    }


def _predict_batch(limits: Limits) -> dict[str, Any]:
    files = {"type": "array", "items": _BINARY, "maxItems": limits.max_parts}
    form = {"type": "object", "required": ["file"], "properties": {"file": files}}
    return {
        "summary": "Classify several images",
        "description": "One entry per image, in order, each with its own status.",
        "parameters": _options(),
        "requestBody": _body({"multipart/form-data": {"schema": form}, "image/*": {"schema": _BINARY}}),
        "responses": _responses("Predictions", "400", "413", "415", "503", "504"),
    }


def _infer(model: ServedModel) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number"}
    datatype = "FP32"
    if model.manifest.input_kind == "uint8":
        number, datatype = {"type": "integer", "minimum": 0, "maximum": 255}, "UINT8"
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"const": "image"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"const": datatype},
            "data": {"type": "array", "items": number},
        },
    }
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}},
    }
    return {
        "summary": "Open Inference Protocol: tensors in, probabilities out",
        "requestBody": _body({"application/json": {"schema": request}}),
        "responses": _responses(None, "400", "404", "413", "415", "503", "504"),
    }


def _options() -> list[dict[str, Any]]:
    return [
        {
            "name": "top",
            "in": "query",
            "description": "How many classes to return, best first",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        },
        {
            "name": "explain",
            "in": "query",
            "description": "cam: add a heat map of what the answer rests on, if the model has one (else 400)",
            "schema": {"enum": ["cam"]},
        },
    ]


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _status(value: str) -> dict[str, Any]:
    return {"type": "object", "required": ["status"], "properties": {"status": {"enum": [value, "draining"]}}}


def _responses(name: str | None, *refusals: str) -> dict[str, Any]:
    schema = _ref(name) if name else {"type": "object"}
    errors = {
        code: {"description": "Refused", "content": {"application/json": {"schema": _ref("Error")}}}
        for code in refusals
    }
    return {"200": {"description": "Answered", "content": {"application/json": {"schema": schema}}}, **errors}


def _get(
    summary: str, schema: dict[str, Any], security: list[Any], extra: dict[str, str] | None = None
) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    others = {code: {"description": text, "content": content} for code, text in (extra or {}).items()}
    answers = {"200": {"description": summary, "content": content}, **others}
    return {"summary": summary, "responses": answers, "security": security}


def _text(summary: str, security: list[Any]) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": {"text/plain": {"schema": _STRING}}}}
    return {"summary": summary, "responses": answers, "security": security}
