"""The lab as an ASGI application: pages, images, and questions answered in threads.

Enters: requests of a browser on this machine. Leaves: pages, JSON, PNGs, server-sent events. It answers only who
calls it by a loopback name and comes from its own pages, so that no other site can use it through the browser.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from catseye.errors import CatseyeError, ImageError, MissingDependency
from catseye.http import bodies, refusals
from catseye.http.bodies import Gone, Receive, Request, Scope, Send
from catseye.http.images import one_image
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.refusals import Refusal
from catseye.http.responses import SAFE_HEADERS, Response, json_response, refused
from catseye.lab.bench import Workbench
from catseye.lab.chapters.table import CHAPTERS
from catseye.lab.images import LabImage
from catseye.lab.page_files import read_pages
from catseye.lab.questions import Answer, find

NUM_THREADS = 4
_IMAGE_HEADERS = (*SAFE_HEADERS, (b"cross-origin-resource-policy", b"same-origin"))
_STREAM_HEADERS = (*SAFE_HEADERS, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"))
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}


class LabApplication:
    """Everything the lab answers."""

    def __init__(self, bench: Workbench, limits: Limits, log: Log) -> None:
        self.bench, self.limits, self.log = bench, limits, log
        self.draining = False
        self.buffered_bytes = 0
        self._pages = read_pages()
        self._chapters = {chapter.name for chapter in CHAPTERS}
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="answer")

    def close(self) -> None:
        """Forget what nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is spoken here; got {scope['type']!r}")
        request = Request(scope, receive, secrets.token_hex(8), dict(scope["headers"]))
        begun = time.perf_counter()
        try:
            response = await self._answer(request, send)
        except Gone:
            return
        except Refusal as refusal:
            if not request.body_read:
                await bodies.drain(request, self.limits)
            response = refused(refusal, request.id)
        except ImageError as error:
            response = refused(refusals.of_image(error), request.id)
        except CatseyeError as error:
            response = refused(Refusal(400, "refused", str(error)), request.id)
        except ModuleNotFoundError as error:  # torch, where only the server is installed
            missing = MissingDependency((error.name or "a package").partition(".")[0], "train")
            response = refused(Refusal(400, "not-installed", str(missing)), request.id)
        except Exception as error:  # noqa: BLE001 - the last edge: a fault is told and logged, the lab goes on
            self.log("fault", id=request.id, path=scope["path"], error=f"{type(error).__name__}: {error}"[:500])
            failed = Refusal(500, "internal", "this is a fault of the lab; the terminal it runs in says more")
            response = refused(failed, request.id)
        if response is not None:
            await _send(response, send)
        if not self.log.quiet:
            self.log("request", path=scope["path"][:80], ms=round((time.perf_counter() - begun) * 1000, 1))

    async def _answer(self, request: Request, send: Send) -> Response | None:
        self._require_own_page(request)
        path, method = request.scope["path"], request.scope["method"]
        if (page := self._pages.get(path)) is not None:
            _require_method(method, "GET", "HEAD")
            return Response(page.content, content_type=page.content_type, headers=page.headers)
        if path == "/api/images":
            _require_method(method, "GET", "POST")
            if method == "POST":
                return json_response(_describe_image(await self._take_image(request)))
            return json_response({"images": [_describe_image(image) for image in self.bench.images.all()]})
        if path.startswith("/image/"):
            _require_method(method, "GET")
            image = self.bench.images.get(path.removeprefix("/image/").removesuffix(".png"))
            return Response(await self._in_thread(lambda: image.png), 200, b"image/png", _IMAGE_HEADERS)
        chapter, _, name = path.removeprefix("/api/").partition("/")
        if not path.startswith("/api/") or chapter not in self._chapters:
            raise Refusal(404, "unknown-path", "the lab has nothing at this address; its chapters are listed at /")
        _require_method(method, "GET", "POST")
        question = await self._in_thread(lambda: find(chapter, name))
        asked = question.check(await self._content(request, method))
        answer = await self._in_thread(lambda: question.answer(self.bench, asked))
        if isinstance(answer, dict):
            return json_response(answer)
        await self._stream(answer, request, send)
        return None

    def _require_own_page(self, request: Request) -> None:
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

    async def _take_image(self, request: Request) -> LabImage:
        with bodies.body_held(self, request):
            body = await bodies.read_body(request, self.limits, self)
            content = one_image(request.content_type, body, self.limits)
            added: LabImage = await self._in_thread(lambda: self.bench.images.add(content, self.limits.max_pixels))
            return added

    async def _content(self, request: Request, method: str) -> object:
        if method == "GET":  # what EventSource can send
            text: str | bytes = parse_qs(request.scope["query_string"].decode("latin-1")).get("asked", ["{}"])[0]
        else:
            if request.content_type.partition(b";")[0].strip() != b"application/json":
                raise Refusal(415, "unknown-content-type", "a question is application/json; got another Content-Type")
            with bodies.body_held(self, request):
                text = await bodies.read_body(request, self.limits, self)
        try:
            content: object = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal(400, "malformed-json", "a question is JSON; got something that does not parse") from None
        return content

    async def _stream(self, answer: Iterator[Answer], request: Request, send: Send) -> None:
        """One event for each value; at its end `end`, or `refused` with the sentence. Stops when nobody listens."""
        gone = asyncio.create_task(_hung_up(request))
        await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
        last = "event: end\ndata: {}\n\n"
        try:
            while not (gone.done() or self.draining):
                value = await self._in_thread(lambda: next(answer, None))
                if value is None:
                    break
                text = json.dumps(value, allow_nan=False, separators=(",", ":"))
                await send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})
        except CatseyeError as error:
            last = f"event: refused\ndata: {json.dumps({'error': str(error)})}\n\n"
        except Exception as error:  # noqa: BLE001 - the answer has begun, so the status can no longer say it
            self.log("fault", id=request.id, error=f"{type(error).__name__}: {error}"[:500])
            last = 'event: refused\ndata: {"error":"this is a fault of the lab; its terminal says more"}\n\n'
        finally:
            gone.cancel()
            close = getattr(answer, "close", None)
            if close is not None:
                await self._in_thread(close)
        await send({"type": "http.response.body", "body": last.encode()})

    async def _in_thread(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


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


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _send(response: Response, send: Send) -> None:
    headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % len(response.body))]
    await send({"type": "http.response.start", "status": response.status, "headers": [*headers, *response.headers]})
    await send({"type": "http.response.body", "body": response.body})


def _require_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        listed = ", ".join(allowed)
        raise Refusal(405, "unknown-method", f"this address takes {listed}; got another method", allow=listed)
