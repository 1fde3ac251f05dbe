"""The lab as an ASGI application: pages, images, and questions answered in threads.

Enters: requests of a browser on this machine. Leaves: pages, JSON, PNGs, server-sent events. It answers only who
calls it by a loopback name and comes from its own pages, so that no other site can use it through the browser.
Starlette finds the function for an address and streams; limits and refusals are those of `http`. Called by command.
"""

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from urllib.parse import parse_qs

import starlette.requests
import starlette.responses
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.routing import Route, Router

from catseye.errors import CatseyeError, ImageError, MissingDependency
from catseye.http import bodies, refusals
from catseye.http.bodies import Gone, Receive, Request, Scope, Send
from catseye.http.images import one_image
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.refusals import Refusal
from catseye.http.responses import SAFE_HEADERS, Response, json_response, refused
from catseye.http.static_files import StaticFile
from catseye.lab.bench import Workbench
from catseye.lab.chapters.table import CHAPTERS
from catseye.lab.images import LabImage
from catseye.lab.page_files import read_pages
from catseye.lab.questions import Answer, AnswerStream, find

_IMAGE_HEADERS = (*SAFE_HEADERS, (b"cross-origin-resource-policy", b"same-origin"))
_STREAM_HEADERS = [*SAFE_HEADERS, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
_REQUEST = "catseye.request"  # key of the scope: what the limits of `http` count


class LabApplication:
    """Everything the lab answers."""

    def __init__(self, bench: Workbench, limits: Limits, log: Log) -> None:
        self.bench, self.limits, self.log = bench, limits, log
        self.draining = False
        self.buffered_bytes = 0
        routes = [_route(path, partial(_send_page, page), "GET", "HEAD") for path, page in read_pages().items()]
        routes.append(_route("/api/images", self._images, "GET", "POST"))
        routes.append(_route("/image/{name:path}", self._image, "GET"))
        for chapter in CHAPTERS:
            routes.append(_route(f"/api/{chapter.name}/{{name:path}}", partial(self._ask, chapter.name), "GET", "POST"))
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application handles HTTP only; got {scope['type']!r}")
        request = Request(scope, receive, secrets.token_hex(8), dict(scope["headers"]))
        scope["app"], scope[_REQUEST] = self, request  # with an app, Starlette raises what it refuses
        begun = time.perf_counter()
        try:
            _require_own_page(request)
            await self._router(scope, receive, send)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the last edge: a fault is told and logged, the lab goes on
            refusal = self._refusal(error, request)
            if not request.body_read:
                await bodies.drain(request, self.limits)
            await _whole(refused(refusal, request.id))(scope, receive, send)
        if not self.log.quiet:
            self.log("request", path=scope["path"][:80], ms=round((time.perf_counter() - begun) * 1000, 1))

    async def _images(self, request: Request) -> Response:
        if request.scope["method"] == "GET":
            return json_response({"images": [_describe_image(image) for image in self.bench.images.all()]})
        with bodies.body_held(self, request):
            body = await bodies.read_body(request, self.limits, self)
            content = one_image(request.content_type, body, self.limits)
            added = await run_in_threadpool(self.bench.images.add, content, self.limits.max_pixels)
        return json_response(_describe_image(added))

    async def _image(self, request: Request, name: str) -> Response:
        image = self.bench.images.get(name.removesuffix(".png"))
        return Response(await run_in_threadpool(lambda: image.png), 200, b"image/png", _IMAGE_HEADERS)

    async def _ask(self, chapter: str, request: Request, name: str) -> Response | StreamingResponse:
        question = await run_in_threadpool(find, chapter, name)
        asked = question.check(await self._content(request))
        answer = await run_in_threadpool(question.answer, self.bench, asked)
        if isinstance(answer, dict):
            return json_response(answer)
        # The task after the last event comes as well where the browser has hung up.
        stream = StreamingResponse(self._events(answer, request), background=BackgroundTask(answer.close))
        stream.raw_headers = [*_STREAM_HEADERS]
        return stream

    async def _content(self, request: Request) -> object:
        if request.scope["method"] == "GET":  # what EventSource can send
            text: str | bytes = parse_qs(request.scope["query_string"].decode("latin-1")).get("asked", ["{}"])[0]
        else:
            if request.content_type.partition(b";")[0].strip().lower() != b"application/json":
                raise Refusal(415, "unknown-content-type", "a question is application/json; got another Content-Type")
            with bodies.body_held(self, request):
                text = await bodies.read_body(request, self.limits, self)
        try:
            content: object = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal(400, "malformed-json", "a question is JSON; got something that does not parse") from None
        return content

    def _events(self, answer: AnswerStream, request: Request) -> Iterator[str]:
        """One event for each value; at its end `end`, or `refused` with the sentence. Starlette runs it in threads."""
        last = "event: end\ndata: {}\n\n"
        try:
            for value in answer:
                yield f"data: {json.dumps(value, allow_nan=False, separators=(',', ':'))}\n\n"
                if self.draining:
                    break
        except CatseyeError as error:
            last = f"event: refused\ndata: {json.dumps({'error': str(error)})}\n\n"
        except Exception as error:  # noqa: BLE001 - the answer has begun, so the status can no longer say it
            self.log("fault", id=request.id, error=f"{type(error).__name__}: {error}"[:500])
            last = 'event: refused\ndata: {"error":"this is a fault of the lab; its terminal says more"}\n\n'
        yield last

    def _refusal(self, error: Exception, request: Request) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, HTTPException):  # Starlette's: no route, or none for this method
            if error.status_code == 405:
                listed = ", ".join(sorted((error.headers or {})["Allow"].split(", ")))
                message = f"this address takes {listed}; got another method"
                return Refusal(405, "unknown-method", message, allow=listed)
            return Refusal(404, "unknown-path", "the lab has nothing at this address; its chapters are listed at /")
        if isinstance(error, ImageError):
            return refusals.of_image(error)
        if isinstance(error, CatseyeError):
            return Refusal(400, "refused", str(error))
        if isinstance(error, ModuleNotFoundError):  # torch, where only the server is installed
            missing = MissingDependency(error.name or "a package")
            return Refusal(400, "not-installed", str(missing))
        path = request.scope["path"]
        self.log("fault", id=request.id, path=path, error=f"{type(error).__name__}: {error}"[:500])
        return Refusal(500, "internal", "this is a fault of the lab; the terminal it runs in says more")


def _route(path: str, answer: Callable[..., Awaitable[Response | StreamingResponse]], *methods: str) -> Route:
    async def endpoint(sent: starlette.requests.Request) -> starlette.responses.Response:
        answered = await answer(sent.scope[_REQUEST], **sent.path_params)
        return _whole(answered) if isinstance(answered, Response) else answered

    route = Route(path, endpoint, methods=methods)
    route.methods = set(methods)  # Starlette adds HEAD to GET, and a HEAD would have a network trained for nobody
    return route


async def _send_page(page: StaticFile, request: Request) -> Response:
    return Response(page.content, content_type=page.content_type, headers=page.headers)


def _whole(response: Response) -> starlette.responses.Response:
    """An answer of `http` as one that Starlette sends, header by header the same."""
    answered = starlette.responses.Response(response.body, response.status)
    answered.raw_headers = [(b"content-type", response.content_type), *answered.raw_headers, *response.headers]
    return answered


def _require_own_page(request: Request) -> None:
    """No other site may make the browser ask: neither by a name that it points at us, nor from its pages."""
    host = request.headers.get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name not in _LOOPBACK:
        raise Refusal(403, "foreign-host", "the lab answers at 127.0.0.1 and localhost only; got another host name")
    origin = request.headers.get(b"origin", b"").decode("latin-1")
    site = request.headers.get(b"sec-fetch-site", b"none")
    crossed = site not in (b"none", b"same-origin") and request.scope["path"].startswith(("/api", "/image"))
    if crossed or (origin and origin != f"http://{host}"):
        raise Refusal(403, "foreign-page", "the lab answers its own pages only; got a request from another site")


def _describe_image(image: LabImage) -> Answer:
    height, width, channels = image.pixels.shape
    return {
        "name": image.name,
        "title": image.title,
        "width": width,
        "height": height,
        "channels": channels,
        "given_width": image.given_px[0],
        "given_height": image.given_px[1],
    }
