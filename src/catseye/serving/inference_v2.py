"""The Open Inference Protocol, version 2, over HTTP: tensors in, tensors out.

Tensors are JSON, or bytes after the JSON. Enters: requests below /v2. Leaves: what `tritonclient.http` and KServe's
clients expect. Each row of the input is a job of the engine, so these requests share batches with all others. Called
by `app.py`.

Source: github.com/kserve/open-inference-protocol (rest/inference_rest.yaml); the binary tensor data extension of
github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from catseye.http import bodies
from catseye.http.bodies import Request
from catseye.http.refusals import Refusal
from catseye.http.responses import Response, json_response
from catseye.serving.engine import Engine
from catseye.serving.served_model import ServedModel
from catseye.serving.tensor_text import LONG_BYTES, MAX_REST_BYTES, numbers_of, read_tensor_json

T = TypeVar("T")
MAX_ROWS = 256
SHORT_ANSWER = 4096  # numbers; a longer answer is written in a thread
_MODEL = re.compile(r"/v2/models/([^/]{1,200})(?:/versions/([^/]{1,100}))?(/ready|/infer)?")
_HEADER_LENGTH = b"inference-header-content-length"
_TYPES: dict[type, str] = {np.uint8: "UINT8", np.float32: "FP32"}

Handlers = dict[str, Callable[[Request], Awaitable[Response]]]


class Protocol:
    """The routes below /v2."""

    def __init__(self, engine: Engine, is_ready: Callable[[], bool]) -> None:
        self.engine, self._is_ready = engine, is_ready
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="text")

    def find(self, path: str) -> tuple[str, Handlers] | None:
        """The fixed name of a route and its handlers by method, or None.

        Raises:
            Refusal: 404, the path names another model or version.

        """
        if path in ("/v2", "/v2/"):
            return "/v2", {"GET": self.server_metadata}
        if path == "/v2/health/live":
            return path, {"GET": self.live}
        if path == "/v2/health/ready":
            return path, {"GET": self.ready}
        match = _MODEL.fullmatch(path)
        if match is None:
            return None
        name, version, what = match.groups()
        model = self.engine.model
        if name != model.name or version not in (None, "", "1", model.version):
            raise Refusal(
                404, "unknown-model", f"the model is called {model.name!r}, version {model.version!r}; got another name"
            )
        if what == "/infer":
            return "/v2/infer", {"POST": self.infer}
        return ("/v2/model", {"GET": self.ready if what else self.model_metadata})

    async def live(self, request: Request) -> Response:
        """GET /v2/health/live."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """GET /v2/health/ready, and of the model."""
        ready = self._is_ready()
        return json_response({"ready": ready}, 200 if ready else 503)

    async def server_metadata(self, request: Request) -> Response:
        """GET /v2."""
        from catseye import __version__

        return json_response({"name": "catseye", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model_metadata(self, request: Request) -> Response:
        """GET /v2/models/NAME."""
        model = self.engine.model
        num_classes = len(model.manifest.classes)
        return json_response(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "image", "datatype": _TYPES[model.row_type], "shape": [-1, *model.row_shape]}],
                "outputs": [{"name": "probability", "datatype": "FP32", "shape": [-1, num_classes]}],
            }
        )

    async def infer(self, request: Request) -> Response:
        """POST /v2/models/NAME/infer."""
        engine = self.engine
        engine.require_room()
        with bodies.body_held(engine, request):
            body = await bodies.read_body(request, engine.limits, engine)
            model = engine.model
            head, rows, binary = await self._read(request, body, model)
            engine.require_room(len(rows))
            jobs = [engine.start(model, row=row) for row in rows]
            request.facts["rows"], request.version = len(jobs), model.version
            bodies.when_gone(request, partial(engine.abandon, *jobs))
            for job in jobs:
                engine.queue(job)
            try:
                for job in jobs:
                    await engine.answer(job)
            except Refusal as refusal:
                if refusal.code == "not-finite":  # the numbers are the caller's own, not an image's
                    raise _wrong("the model's probabilities for a tensor are finite", "NaN or infinity") from None
                raise
            finally:
                engine.abandon(*jobs)
        probabilities = np.stack([job.answer for job in jobs if job.answer is not None]).astype(np.float32, copy=False)
        write = partial(_infer_response, head, probabilities, model, binary)
        return write() if probabilities.size <= SHORT_ANSWER else await self._in_thread(write)

    async def _read(
        self, request: Request, body: bytes, model: ServedModel
    ) -> tuple[dict[str, Any], NDArray[Any], bool]:
        header_length = request.headers.get(_HEADER_LENGTH)
        length = _json_length(body, header_length)
        if length <= LONG_BYTES:
            return read_request(body, header_length, model)
        bodies.when_gone(request, lambda: None)
        parts = await self._in_thread(partial(read_request, body, header_length, model))
        if request.facts.get("gone"):
            raise bodies.Gone
        return parts

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """One at a time: each takes several times the memory of its text."""
        deadline_s = self.engine.limits.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            message = (
                f"long JSON texts are read one at a time, within {deadline_s:g} s; this one was not; send binary data"
            )
            raise Refusal(503, "busy", message, retry_after_s=1) from None


def read_request(
    body: bytes, header_length: bytes | None, model: ServedModel
) -> tuple[dict[str, Any], NDArray[Any], bool]:
    """The JSON part, the rows of the tensor `image`, and whether to answer in binary.

    Raises:
        Refusal: 400, the request does not follow the protocol or does not fit the model.

    """
    length = _json_length(body, header_length)
    try:
        head = read_tensor_json(body[:length])
    except (ValueError, RecursionError):
        raise _wrong(
            f"the body should be JSON of numbers without NaN or deep nesting, with at most {MAX_REST_BYTES:,} "
            "bytes besides its tensor",
            "something else",
        ) from None
    inputs = head.get("inputs") if isinstance(head, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong("there is exactly one input, called image", "another list of inputs")
    if inputs[0].get("name") != "image":
        raise _wrong("the input is called image", "another name")
    outputs = head.get("outputs")
    outputs = [] if outputs is None else outputs
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise _wrong("outputs is a list of objects", "something else")
    if any(output.get("name") != "probability" for output in outputs):
        raise _wrong("the only output is called probability", "another name")
    binary = any(_parameters(output).get("binary_data") is True for output in outputs) or (
        not outputs and _parameters(head).get("binary_data_output") is True
    )
    return head, _tensor(inputs[0], body[length:], model), binary


def _tensor(tensor: dict[str, Any], behind: bytes, model: ServedModel) -> NDArray[Any]:
    wanted_type = _TYPES[model.row_type]
    if tensor.get("datatype") != wanted_type:
        raise _wrong(f"image is of type {wanted_type}", "another datatype")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise _wrong("shape is a list of whole numbers", "something else")
    if tuple(shape[1:]) != model.row_shape or not 1 <= shape[0] <= MAX_ROWS:
        raise _wrong(f"image has the shape [1 to {MAX_ROWS}, {', '.join(map(str, model.row_shape))}]", "another shape")
    num_values = shape[0] * int(np.prod(model.row_shape))
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != len(behind) or size != num_values * np.dtype(model.row_type).itemsize:
            raise _wrong(
                "binary_data_size is the number of the tensor's bytes, which follow the JSON", "another number"
            )
        values = np.frombuffer(behind, np.dtype(model.row_type).newbyteorder("<")).astype(model.row_type, copy=False)
    else:
        values = _json_values(tensor.get("data"), num_values, model)
    if model.row_type is np.float32 and not np.isfinite(values).all():
        raise _wrong("a tensor holds finite numbers", "NaN or infinity")
    return values.reshape(shape)


def _json_values(data: Any, num_values: int, model: ServedModel) -> NDArray[Any]:
    try:
        numbers = numbers_of(data)  # flat or nested, the protocol allows both
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise _wrong("data is a list of numbers", "something else") from None
    if numbers.size != num_values:
        raise _wrong(f"data has {num_values:,} numbers", f"{numbers.size:,}")
    if model.row_type is np.uint8 and not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
        raise _wrong("data of type UINT8 holds whole numbers from 0 to 255", "others")
    with np.errstate(over="ignore"):  # too large a number becomes infinity and is refused
        return numbers.astype(model.row_type)


def _infer_response(
    request: dict[str, Any], probabilities: NDArray[np.float32], model: ServedModel, binary: bool
) -> Response:
    output: dict[str, Any] = {"name": "probability", "datatype": "FP32", "shape": list(probabilities.shape)}
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    if isinstance(request.get("id"), str):
        answer["id"] = request["id"][:200]
    if not binary:
        # Row by row: in a thread, the event loop runs in between.
        rows = ",".join(json.dumps(row.tolist())[1:-1] for row in probabilities)
        output["data"] = []
        plain = json_response(answer)
        return plain._replace(body=plain.body.replace(b'"data":[]', f'"data":[{rows}]'.encode(), 1))
    tensor = probabilities.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(tensor)}
    head = json.dumps(answer).encode()
    length = (_HEADER_LENGTH, b"%d" % len(head))
    return Response(head + tensor, 200, b"application/octet-stream", (length, (b"x-content-type-options", b"nosniff")))


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _json_length(body: bytes, header_length: bytes | None) -> int:
    if header_length is None:
        return len(body)
    # Python refuses to read a number with thousands of digits.
    if not header_length.isdigit() or len(header_length) > 18 or int(header_length) > len(body):
        raise _wrong("Inference-Header-Content-Length is the number of bytes before the tensors", "another number")
    return int(header_length)


def _wrong(rule: str, got: str) -> Refusal:
    return Refusal(400, "bad-tensor", f"{rule}; got {got}; GET /v2/models/NAME describes the model's input")
