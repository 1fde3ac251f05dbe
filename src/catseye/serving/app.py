"""The ASGI application: a table of routes, one handler each.

Enters: requests. Leaves: JSON, the page, metrics. No handler opens a file or an address named by a client. A bare ASGI
callable: a dozen fixed routes need no framework. Made by `server.py`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from catseye.http import bodies
from catseye.http.bodies import Gone, Receive, Request, Scope, Send, when_gone
from catseye.http.images import images_of, one_image
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.refusals import Refusal, require_token, wrong_method
from catseye.http.responses import Response, json_response, refused
from catseye.http.static_files import StaticFile
from catseye.serving import inference_v2, metrics, openapi, schemas
from catseye.serving.batcher import Job
from catseye.serving.engine import Engine
from catseye.serving.front import Front
from catseye.serving.page import STATIC
from catseye.serving.progress import Progress
from catseye.serving.queries import read_options

Handler = Callable[[Request], Awaitable[Response]]
SMALL_BODY_BYTES = 65_536
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")


class Application:
    """The routes of one process."""

    def __init__(
        self,
        engine: Engine,
        counted: metrics.ServerMetrics,
        log: Log,
        token: bytes | None,
        progress: Progress | None = None,
        front: Front | None = None,
    ) -> None:
        self.engine, self.metrics, self.log, self.token = engine, counted, log, token
        self.progress = progress or Progress(engine.limits.deadline_s)
        self.front = front or Front()
        self.limits: Limits = engine.limits
        self.draining = False
        self.use(engine.model)
        self._routes: dict[str, dict[str, Handler]] = {
            "/predict": {"POST": self.predict},
            "/predict/batch": {"POST": self.predict_batch},
            "/model": {"GET": self.model_card},
            "/healthz": {"GET": self.healthz},
            "/readyz": {"GET": self.readyz},
            "/metrics": {"GET": self.scrape},
            "/openapi.json": {"GET": self.openapi},
        }
        # Health checks send no token, nor does a browser that loads the page which asks for it.
        self._open = {*HEALTH, "/openapi.json", *STATIC}
        self._v2 = inference_v2.Protocol(engine, lambda: not self.draining)

    def use(self, model: Any) -> None:
        """Answer with this version from now on."""
        self.engine.swap(model)
        self.metrics.use(model)
        self._card = schemas.model_facts(model, self.limits.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: find its route, answer it, count it, log it."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application handles HTTP only; got {scope['type']!r}")
        begun = time.perf_counter()
        request = Request(scope, receive, bodies.new_request_id(), dict(scope["headers"]))
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            request.facts["code"] = refusal.code
            self._look_at(refusal)
            response = refused(refusal, request.id)
            if not request.body_read and not await self._read_the_rest(request, refusal):
                await self._send(request, response, send, more=True)
                await bodies.drain(request, self.limits)
                await send({"type": "http.response.body", "body": b""})
                self._note(request, response.status, begun)
                return
        except Gone:
            self._note(request, 499, begun)
            return
        except asyncio.CancelledError:
            if request.facts.get("gone"):
                self._note(request, 499, begun)
                return
            raise
        except Exception as error:  # noqa: BLE001 - no traceback may leave the process
            self.log("fault", id=request.id, error=f"{type(error).__name__}: {error}"[:500])
            failed = Refusal(500, "internal", "this is a fault of the server; its log has the request's id")
            response = refused(failed, request.id)
        await self._send(request, response, send)
        self._note(request, response.status, begun)

    async def _read_the_rest(self, request: Request, refusal: Refusal) -> bool:
        """Read the rest of a short body; returns whether the connection can be reused."""
        if b"transfer-encoding" in request.headers or refusal.close:
            return False
        length = int(request.headers.get(b"content-length", b"0"))
        if 0 < length <= SMALL_BODY_BYTES:
            await bodies.drain(request, self.limits)
        return length == 0 or request.body_read

    async def _answer(self, request: Request) -> Response:
        outer, method = request.scope["path"], request.scope["method"]
        if beside := self.front.preflight(request) or self.front.redirect(outer):
            request.route = "front"
            return beside
        path = self.front.path_of(outer)
        handlers = self._routes.get(path)
        if handlers is None:
            if static := STATIC.get(path):
                request.route = "page"
                return _static(static, method)
            if path.startswith("/v2") and (matched := self._v2.find(path)) is not None:
                request.route, handlers = matched
            else:
                raise Refusal(404, "unknown-path", "there is nothing at this path; see /docs for what there is")
        else:
            request.route = path
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise wrong_method(", ".join(handlers))
        if self.token is not None and path not in self._open:
            self._require_token(request)
        return await handler(request)

    def _require_token(self, request: Request) -> None:
        assert self.token is not None
        require_token(request.headers.get(b"authorization", b""), self.token)

    async def predict(self, request: Request) -> Response:
        """POST /predict: one image."""
        top, with_cam = self._options(request)
        engine = self.engine
        engine.require_room()
        with bodies.body_held(engine, request):
            body = await bodies.read_body(request, self.limits, engine)
            content = one_image(request.content_type, body, self.limits)
            engine.require_room()
            job = engine.start(engine.model, content=content)
            job.wants_cam, request.version = with_cam, job.model.version
            when_gone(request, partial(engine.abandon, job))
            engine.queue(job)
            await engine.answer(job)
        _time(request, job)
        return json_response(self._describe(job, top))

    async def predict_batch(self, request: Request) -> Response:
        """POST /predict/batch: several images, an answer or an error for each, in order."""
        top, with_cam = self._options(request)
        engine = self.engine
        engine.require_room()
        with bodies.body_held(engine, request):
            body = await bodies.read_body(request, self.limits, engine)
            images = images_of(request.content_type, body, self.limits)
            engine.require_room(len(images))
            model = engine.model  # all images of a request are answered by one version
            jobs = [engine.start(model, content=content) for content in images]
            request.version = model.version
            when_gone(request, partial(engine.abandon, *jobs))
            for job in jobs:
                job.wants_cam = with_cam
                engine.queue(job)
            answers = await self._answers(jobs, top)
        return json_response({"predictions": answers})

    async def _answers(self, jobs: list[Job], top: int | None) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        try:
            for job in jobs:
                try:
                    answers.append({"status": 200, **self._describe(await self.engine.answer(job), top)})
                except Refusal as refusal:
                    self._look_at(refusal)
                    answers.append({"status": refusal.status, "error": refusal.message, "code": refusal.code})
        finally:
            self.engine.abandon(*jobs)
        return answers

    def _describe(self, job: Job, top: int | None) -> dict[str, Any]:
        answer, best, confidence = schemas.prediction(job, top)
        if job.model is self.engine.model:
            self.metrics.answered(job, best, confidence, unknown="unknown" in answer)
        return answer

    def _look_at(self, refusal: Refusal) -> None:
        if refusal.status == 504:
            self.progress.too_late()

    def reserved_paths(self) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """The paths of health checks, and all paths that the connection limit spares.

        Each path is given with and without the prefix.
        """
        health = {prefix + path for path in HEALTH for prefix in ("", self.front.root_path)}
        more = {f"{prefix}/metrics" for prefix in ("", self.front.root_path)}
        return frozenset(path.encode() for path in health), frozenset(path.encode() for path in health | more)

    def refused_connection(self, status: int, code: str) -> None:
        """Count and log a request that reached no handler."""
        self.metrics.refused_connection(status)
        if not self.log.quiet:
            self.log("request", route="connection", status=status, code=code)

    def _options(self, request: Request) -> tuple[int | None, bool]:
        return read_options(request.scope["query_string"], has_cam=self._card["has_cam"])

    async def model_card(self, request: Request) -> Response:
        """GET /model: what the file says about itself."""
        return json_response(self._card)

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: the process is alive; 503 if the model is stuck."""
        if self.progress.is_stuck:
            raise Refusal(503, "stuck", "the model should answer within the deadline; it has not; restart the server")
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: requests are accepted; 503 while the server is shutting down."""
        if self.draining:
            return json_response({"status": "draining"}, 503)
        return json_response({"status": "ready", "model": self.engine.model.version})

    async def scrape(self, request: Request) -> Response:
        """GET /metrics: for Prometheus."""
        text = self.metrics.render(self.engine, self.log.num_dropped)
        return Response(text, content_type=metrics.CONTENT_TYPE.encode())

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json: the description of this API."""
        document = openapi.document(self.engine.model, self.limits, with_token=self.token is not None)
        if self.front.root_path:
            document["servers"] = [{"url": self.front.root_path}]
        return json_response(document)

    async def _send(self, request: Request, response: Response, send: Send, *, more: bool = False) -> None:
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", request.id.encode()),
            *response.headers,
            *self.front.cors_headers(request),
        ]
        if request.version:
            headers.append((b"x-catseye-model", request.version.encode()))
        if self.draining or more:
            headers.append((b"connection", b"close"))
        at_once = request.scope.get(bodies.AT_ONCE)
        if at_once is not None and not more and at_once(response.status, headers, response.body):
            return
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": more})

    def _note(self, request: Request, status: int, begun: float) -> None:
        seconds = time.perf_counter() - begun
        self.metrics.request(request.route, status, seconds)
        if status >= 500 or not self.log.quiet:
            request.facts.pop("gone", None)
            self.log(
                "request",
                id=request.id,
                route=request.route,
                status=status,
                ms=round(seconds * 1000, 2),
                **request.facts,
            )


def _static(static: StaticFile, method: str) -> Response:
    if method not in ("GET", "HEAD"):
        raise wrong_method("GET")
    return Response(static.content, content_type=static.content_type, headers=static.headers)


def _time(request: Request, job: Job) -> None:
    request.facts.update(
        decode_ms=round((job.decoded - job.decoding) * 1000, 2),
        queue_ms=round((job.computing - job.decoded) * 1000, 2),
        model_ms=round((job.computed - job.computing) * 1000, 2),
        batch=job.batch_size,
    )
