"""The lab as an ASGI application: pages, images, and answers from threads.

Enters: requests of a browser on this machine. Leaves: pages, JSON, PNGs, server-sent events. It answers only requests
to a loopback name from its own pages, so that no other site can use it through the browser. Starlette routes and
streams; limits and refusals are those of `http`. Called by command.
"""

import json
import threading
from collections.abc import Iterator
from functools import partial
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Mount

from catseye.errors import CatseyeError
from catseye.http import bodies
from catseye.http.bodies import Receive, Request, Scope, Send
from catseye.http.images import one_image
from catseye.http.limits import Limits
from catseye.http.local_pages import LocalPages, page_route, parse_question, send_page
from catseye.http.logs import Log
from catseye.http.responses import SAFE_HEADERS, Response, json_response
from catseye.lab.bench import Workbench
from catseye.lab.chapters.table import CHAPTERS
from catseye.lab.images import LabImage
from catseye.lab.page_files import read_pages
from catseye.lab.questions import Answer, AnswerStream, find

_IMAGE_HEADERS = (*SAFE_HEADERS, (b"cross-origin-resource-policy", b"same-origin"))
_STREAM_HEADERS = [*SAFE_HEADERS, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class LabApplication(LocalPages):
    """The routes of the lab."""

    def __init__(self, bench: Workbench, limits: Limits, log: Log) -> None:
        super().__init__("lab", "its chapters are listed at /", limits, log)
        self.bench = bench
        routes: list[BaseRoute] = [
            page_route(path, partial(send_page, page), "GET", "HEAD") for path, page in read_pages().items()
        ]
        routes.append(page_route("/api/images", self._images, "GET", "POST"))
        routes.append(page_route("/image/{name:path}", self._image, "GET"))
        for chapter in CHAPTERS:
            path = f"/api/{chapter.name}/{{name:path}}"
            routes.append(page_route(path, partial(self._ask, chapter.name), "GET", "POST"))
        self._teaching: LocalPages | None = None
        self._opening = threading.Lock()
        routes.append(Mount("/teach", app=self._teach))
        self.open(routes)

    async def _teach(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Chapter 11: the page of `catseye teach`.

        Its network is opened at the first request.
        """
        pages = await run_in_threadpool(self._open_teaching)
        await pages(scope, receive, send)

    def _open_teaching(self) -> LocalPages:
        with self._opening:
            if self._teaching is None:
                from catseye.review.teach_command import teach_pages  # it imports torch

                self._teaching = teach_pages()
            return self._teaching

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
        fields = question.check(await self._content(request))
        answer = await run_in_threadpool(question.answer, self.bench, fields)
        if isinstance(answer, dict):
            return json_response(answer)
        # The background task runs even if the browser has disconnected.
        stream = StreamingResponse(self._events(answer, request), background=BackgroundTask(answer.close))
        stream.raw_headers = [*_STREAM_HEADERS]
        return stream

    async def _content(self, request: Request) -> object:
        if request.scope["method"] == "GET":  # what EventSource can send
            texts = parse_qs(request.scope["query_string"].decode("latin-1")).get("asked", ["{}"])
            return parse_question(texts[0])
        return await self.json_body(request)

    def _events(self, answer: AnswerStream, request: Request) -> Iterator[str]:
        """One event per value, then `end`, or `refused` with the message.

        Starlette runs it in threads.
        """
        last = "event: end\ndata: {}\n\n"
        try:
            for value in answer:
                yield f"data: {json.dumps(value, allow_nan=False, separators=(',', ':'))}\n\n"
                if self.draining:
                    break
        except CatseyeError as error:
            last = f"event: refused\ndata: {json.dumps({'error': str(error)})}\n\n"
        except Exception as error:  # noqa: BLE001 - the response has begun, so its status cannot change any more
            self.log("fault", id=request.id, error=f"{type(error).__name__}: {error}"[:500])
            last = 'event: refused\ndata: {"error":"this is a fault of the lab; its terminal says more"}\n\n'
        yield last


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
