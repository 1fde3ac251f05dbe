"""The pages of review, label and teach as ASGI applications, on loopback only.

Enters: requests of a browser on this machine. Leaves: pages, JSON, images. Pydantic checks the requests of a page, and
the desk answers them in a thread. Called by command.py and teach_command.py.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from catseye.errors import UsageError
from catseye.http import bodies
from catseye.http.bodies import Request
from catseye.http.images import one_image
from catseye.http.limits import Limits
from catseye.http.local_pages import LocalPages, page_route, send_page
from catseye.http.logs import Log
from catseye.http.responses import SAFE_HEADERS, Response, json_response
from catseye.http.static_files import StaticFile, html, read_static
from catseye.review.desk import Desk
from catseye.review.heat import Heat
from catseye.review.label_desk import LabelDesk
from catseye.review.teach_desk import TeachDesk
from catseye.serving.page import FOLDER as SERVING_FILES

_HERE = Path(__file__).parent / "static"
_IMAGE_HEADERS = (*SAFE_HEADERS, (b"cross-origin-resource-policy", b"same-origin"))


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Numbered(_Question):
    number: int = Field(ge=0)


class _Decision(_Numbered):
    kind: Literal["keep", "relabel", "drop", "unsure", "merge"]
    label: str = Field(default="", max_length=500)


class _Named(_Question):
    name: str = Field(max_length=500)


class _NamedAnew(_Numbered):
    name: str = Field(max_length=500)


class _Nothing(_Question):
    pass


class ImageSource(Protocol):
    """A desk that can show images."""

    def image(self, index: int, side_px: int) -> tuple[bytes, bytes]:
        """Bytes and their type."""


class ReviewPages(LocalPages):
    """The routes of the page of `catseye review`."""

    def __init__(self, desk: Desk, heat: Heat | None, limits: Limits, log: Log) -> None:
        super().__init__("review", "its page is at /", limits, log)
        self.desk, self.heat = desk, heat
        questions: dict[str, tuple[type[_Question], Callable[[Any], Any]]] = {
            "state": (_Nothing, lambda _: {**desk.state(), "has_heat": heat is not None}),
            "question": (_Numbered, lambda question: desk.question(question.number)),
            "decide": (_Decision, lambda question: desk.decide(question.number, question.kind, question.label)),
            "undo": (_Nothing, lambda _: desk.undo()),
            "worth": (_Nothing, lambda _: desk.worth()),
        }
        routes = _shared_routes(self, "review", desk, questions)
        self.open([*routes, page_route("/image/heat/{index:int}/{name:path}", self._heat, "GET")])

    async def _heat(self, request: Request, index: int, name: str) -> Response:
        if self.heat is None:
            raise UsageError("a heat map needs a run, and this review has none; start it with catseye review RUN")
        content = await run_in_threadpool(self.heat.over, index, name)
        return Response(content, 200, b"image/png", _IMAGE_HEADERS)


class LabelPages(LocalPages):
    """The routes of the page of `catseye label`."""

    def __init__(self, desk: LabelDesk, limits: Limits, log: Log) -> None:
        super().__init__("label", "its page is at /", limits, log)
        questions: dict[str, tuple[type[_Question], Callable[[Any], Any]]] = {
            "state": (_Nothing, lambda _: desk.state()),
            "decide": (_Decision, lambda question: desk.decide(question.number, question.kind, question.label)),
            "skip": (_Numbered, lambda question: desk.skip(question.number)),
            "undo": (_Nothing, lambda _: desk.undo()),
        }
        self.open(_shared_routes(self, "label", desk, questions))


class TeachPages(LocalPages):
    """The routes of the page of `catseye teach`.

    Addresses are relative, so that the lab can include the page.
    """

    def __init__(self, desk: TeachDesk, limits: Limits, log: Log) -> None:
        super().__init__("teach", "its page is at /", limits, log)
        self.desk = desk
        questions: dict[str, tuple[type[_Question], Callable[[Any], Any]]] = {
            "state": (_Nothing, lambda _: desk.state()),
            "add": (_Named, lambda question: desk.add(question.name)),
            "rename": (_NamedAnew, lambda question: desk.rename(question.number, question.name)),
            "forget": (_Numbered, lambda question: desk.forget(question.number)),
            "learn": (_Nothing, lambda _: desk.learn()),
            "keep": (_Nothing, lambda _: desk.keep()),
            "export": (_Nothing, lambda _: desk.export()),
        }
        routes = _question_routes(self, "teach", questions)
        routes.append(page_route("/api/record/{number:int}", self._record, "POST"))
        routes.append(page_route("/api/answer", self._answer, "POST"))
        self.open([*routes, page_route("/image/{digest}", self._image, "GET")])

    async def _record(self, request: Request, number: int) -> Response:
        return json_response(await run_in_threadpool(self.desk.record, number, await self._frame(request)))

    async def _answer(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self.desk.answer, await self._frame(request)))

    async def _frame(self, request: Request) -> bytes:
        with bodies.body_held(self, request):
            body = await bodies.read_body(request, self.limits, self)
            return one_image(request.content_type, body, self.limits)

    async def _image(self, request: Request, digest: str) -> Response:
        content, kind = await run_in_threadpool(self.desk.image, digest)
        return Response(content, 200, kind, _IMAGE_HEADERS)


def _shared_routes(
    pages: LocalPages,
    name: str,
    source: ImageSource,
    questions: dict[str, tuple[type[_Question], Callable[[Any], Any]]],
) -> list[Route]:
    async def image(request: Request, index: int, side: int) -> Response:
        content, kind = await run_in_threadpool(source.image, index, side)
        return Response(content, 200, kind, _IMAGE_HEADERS)

    routes = _question_routes(pages, name, questions)
    return [*routes, page_route("/image/{index:int}/{side:int}", image, "GET")]


def _question_routes(
    pages: LocalPages, name: str, questions: dict[str, tuple[type[_Question], Callable[[Any], Any]]]
) -> list[Route]:
    """The routes of a page's files and of its requests."""

    async def answer(shape: type[_Question], reply: Callable[[Any], Any], request: Request) -> Response:
        question = _as_question(shape, await pages.json_body(request))
        return json_response(await run_in_threadpool(reply, question))

    files = {**read_static(_HERE), "/": html(_page_of(name))}
    files["/static/icon.svg"] = files["/favicon.ico"] = read_static(SERVING_FILES)["/static/icon.svg"]
    routes = [_file_route(path, file) for path, file in files.items()]
    routes += [
        page_route(f"/api/{word}", partial(answer, shape, reply), "POST") for word, (shape, reply) in questions.items()
    ]
    return routes


def _page_of(name: str) -> str:
    """The head that all pages share, and the page's own body."""
    head, body = ((_HERE / f"{each}.html").read_text(encoding="utf-8") for each in ("head", name))
    return head.replace("NAME", name) + body


def _file_route(path: str, file: StaticFile) -> Route:
    return page_route(path, partial(send_page, file), "GET", "HEAD")


def _as_question(shape: type[_Question], content: object) -> _Question:
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "the question"
        raise UsageError(f"{name}: {first['msg']}; got {first['input']!r:.60}; reload the page") from None
