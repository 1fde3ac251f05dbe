"""`POST /predict` as an AWS Lambda function: the server's answers and errors.

Enters: the model's file, then one event per call. Leaves: the response as a dictionary. Same preprocessing, session
and messages as `app.py`; no event loop, no threads, no uvicorn, because a function answers one request at a time.
Called by the handler.py that `catseye deploy lambda` writes, which opens the model while Lambda starts the function.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, WebPImagePlugin  # noqa: F401 - imported, it reads WebP

from catseye.errors import UsageError
from catseye.http.images import images_of, one_image, require_plain
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal, of_failure, require_token, wrong_method
from catseye.http.responses import Response, json_response, refused
from catseye.machine.cores import num_cores
from catseye.preprocess import UPLOAD_FORMATS, preprocess_sized
from catseye.runtimes.loading import open_model
from catseye.serving import schemas
from catseye.serving.aws_events import BODY_BYTES, Call, read_event, require_small, to_answer
from catseye.serving.queries import read_options
from catseye.serving.served_model import ServedModel
from catseye.serving.settings import require_sound

MB_PER_CORE = 1769  # Lambda gives a function one core per this much memory


class Function:
    """The opened model and its routes."""

    def __init__(self, model: ServedModel, limits: Limits, token: bytes = b"") -> None:
        self.model, self.limits, self.token = model, limits, token
        self._routes: dict[str, tuple[str, Callable[[Call], Any]]] = {
            "/predict": ("POST", self.predict),
            "/predict/batch": ("POST", self.predict_batch),
            "/model": ("GET", lambda call: schemas.model_facts(self.model, self.limits.body_bytes)),
            "/healthz": ("GET", lambda call: {"status": "alive"}),
        }

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """One event to one response; after any failure, a status and a message."""
        begun = time.perf_counter()
        request_id = str(getattr(context, "aws_request_id", "") or "")
        facts: dict[str, Any] = {}
        method = ""
        try:
            call = read_event(event, self.limits.body_bytes)
            method, facts["route"] = call.method, call.path if call.path in self._routes else "other"
            response = require_small(json_response(self._answer(call)))
        except Refusal as refusal:
            facts["code"] = refusal.code
            response = refused(refusal, request_id)
        except Exception as error:  # noqa: BLE001 - no traceback may leave the function
            facts["error"] = f"{type(error).__name__}: {error}"[:500]
            failed = Refusal(500, "internal", "this is a fault of the function; its log has the request's id")
            response = refused(failed, request_id)
        _log(request_id, response, time.perf_counter() - begun, facts)
        return to_answer(response, request_id, self.model.version, without_body=method == "HEAD")

    def _answer(self, call: Call) -> Any:
        if call.path not in self._routes:
            known = ", ".join(f"{method} {path}" for path, (method, _) in self._routes.items())
            raise Refusal(404, "unknown-path", f"there is nothing at this path; the paths are: {known}")
        method, answer = self._routes[call.path]
        if method != ("GET" if call.method == "HEAD" else call.method):
            raise wrong_method(method)
        if self.token and call.path != "/healthz":
            require_token(call.headers.get(b"authorization", b""), self.token)
        return answer(call)

    def predict(self, call: Call) -> dict[str, Any]:
        """POST /predict: one image."""
        top, with_cam = read_options(call.query, has_cam=self.model.has_cam)
        require_plain(call.headers.get(b"content-encoding", b"identity"))
        content = one_image(call.headers.get(b"content-type", b""), call.body, self.limits)
        return self._classify(content, top, with_cam)

    def predict_batch(self, call: Call) -> dict[str, Any]:
        """POST /predict/batch: several images, an answer or an error for each, in order."""
        top, with_cam = read_options(call.query, has_cam=self.model.has_cam)
        require_plain(call.headers.get(b"content-encoding", b"identity"))
        answers: list[dict[str, Any]] = []
        for content in images_of(call.headers.get(b"content-type", b""), call.body, self.limits):
            try:
                answers.append({"status": 200, **self._classify(content, top, with_cam)})
            except Refusal as refusal:
                answers.append({"status": refusal.status, "error": refusal.message, "code": refusal.code})
        return {"predictions": answers}

    def _classify(self, content: bytes, top: int | None, with_cam: bool) -> dict[str, Any]:
        spec, model = self.model.manifest.preprocessing, self.model
        try:
            pixels, size_px = preprocess_sized(content, spec, formats=UPLOAD_FORMATS, max_pixels=self.limits.max_pixels)
            answers = model.compute(model.row_of(pixels)[None], with_cam)
            if not answers.finite_rows().all():
                raise ArithmeticError("the model's answer for this image contains NaN or infinity")
        except Exception as error:
            raise of_failure(error, self.limits.deadline_s) from error
        familiarity = None if answers.familiarity is None else float(answers.familiarity[0])
        answer = schemas.describe_answer(model, answers.probabilities[0], top, familiarity)
        if answers.cams is not None:
            schemas.add_map(answer, model, answers.cams[0], size_px)
        return answer


def open_function(path: Path) -> Function:
    """Open the model, with settings from environment variables, before any event.

    CATSEYE_TOKEN is the secret that callers must send (none: no token is needed), CATSEYE_MAX_PIXELS the largest image.

    Raises:
        UsageError: a variable is wrong. ModelFileError: as in `open_model`.

    """
    Image.preinit()  # else the first image would wait while Pillow imports its formats
    token = os.environ.get("CATSEYE_TOKEN", "").encode()
    if token:
        require_sound(token, "CATSEYE_TOKEN")
    max_pixels = _number("CATSEYE_MAX_PIXELS", Limits().max_pixels)
    threads = round(_number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MB_PER_CORE) / MB_PER_CORE)
    threads = min(max(1, threads), num_cores())
    limits = Limits(body_bytes=BODY_BYTES, max_pixels=max_pixels)
    file = open_model(path, threads=threads)
    return Function(ServedModel(path.stem, file, "cpu", file.ask), limits, token)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{name} takes a whole number from 1; got {text!r}")
    return int(text)


def _log(request_id: str, response: Response, seconds: float, facts: dict[str, Any]) -> None:
    """Write one line for CloudWatch at once; Lambda would freeze a logging thread."""
    line = {"event": "request", "id": request_id, "status": response.status, "ms": round(seconds * 1000, 2), **facts}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
