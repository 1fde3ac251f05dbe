"""Pages for a browser on this machine only, shared by `lab` and `review`.

Enters: routes. Leaves: an ASGI application that answers only its own pages, under a loopback name; errors become
refusals with their message. Uses Starlette. Called by lab/app.py and review/app.py.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import starlette.requests
import starlette.responses
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Route, Router

from catseye.errors import CatseyeError, ImageError, MissingDependency
from catseye.http import bodies, refusals
from catseye.http.bodies import Gone, Receive, Request, Scope, Send
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.refusals import Refusal
from catseye.http.responses import Response, refused
from catseye.http.static_files import StaticFile

_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
_REQUEST = "catseye.request"  # key of the scope: the `Request` that the limits of `http` need


class LocalPages:
    """An application for a browser on this machine.

    `name` and `place` (where its pages are) appear in refusals.
    """

    def __init__(self, name: str, place: str, limits: Limits, log: Log) -> None:
        self.name, self.place, self.limits, self.log = name, place, limits, log
        self.draining = False
        self.buffered_bytes = 0
        self._router = Router([], redirect_slashes=False)

    def open(self, routes: Sequence[BaseRoute]) -> None:
        """Set the routes."""
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application handles HTTP only; got {scope['type']!r}")
        request = Request(scope, receive, bodies.new_request_id(), dict(scope["headers"]))
        scope["app"], scope[_REQUEST] = self, request  # with an app, Starlette raises what it refuses
        begun = time.perf_counter()
        try:
            require_own_page(request, self.name)
            await self._router(scope, receive, send)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the fault is reported and logged, and the server goes on
            refusal = self.refusal(error, request)
            if not request.body_read:
                await bodies.drain(request, self.limits)
            await whole(refused(refusal, request.id))(scope, receive, send)
        if not self.log.quiet:
            self.log("request", path=scope["path"][:80], ms=round((time.perf_counter() - begun) * 1000, 1))

    async def json_body(self, request: Request) -> Any:
        """The JSON that a page has sent.

        Raises:
            Refusal: it is not JSON.

        """
        if request.content_type.partition(b";")[0].strip().lower() != b"application/json":
            raise Refusal(415, "unknown-content-type", "a question is application/json; got another Content-Type")
        with bodies.body_held(self, request):
            text = await bodies.read_body(request, self.limits, self)
        return parse_question(text)

    def refusal(self, error: Exception, request: Request) -> Refusal:
        """The refusal for an error."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, HTTPException):  # Starlette's: no route, or none for this method
            if error.status_code == 405:
                listed = ", ".join(sorted((error.headers or {})["Allow"].split(", ")))
                message = f"this address takes {listed}; got another method"
                return Refusal(405, "unknown-method", message, allow=listed)
            return Refusal(404, "unknown-path", f"the {self.name} has nothing at this address; {self.place}")
        if isinstance(error, ImageError):
            return refusals.of_image(error)
        if isinstance(error, CatseyeError):
            return Refusal(400, "refused", str(error))
        if isinstance(error, ModuleNotFoundError):  # torch, if only the server is installed
            missing = MissingDependency(error.name or "a package")
            return Refusal(400, "not-installed", str(missing))
        path = request.scope["path"]
        self.log("fault", id=request.id, path=path, error=f"{type(error).__name__}: {error}"[:500])
        return Refusal(500, "internal", f"this is a fault of the {self.name}; the terminal it runs in says more")


def parse_question(text: str | bytes) -> object:
    """The JSON of a question.

    Raises:
        Refusal: it is not JSON.

    """
    try:
        content: object = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(400, "malformed-json", "a question is JSON; got something that does not parse") from None
    return content


def page_route(path: str, answer: Callable[..., Awaitable[Response | StreamingResponse]], *methods: str) -> Route:
    """An address and the coroutine that answers there."""

    async def endpoint(sent: starlette.requests.Request) -> starlette.responses.Response:
        answered = await answer(sent.scope[_REQUEST], **sent.path_params)
        return whole(answered) if isinstance(answered, Response) else answered

    route = Route(path, endpoint, methods=methods)
    route.methods = set(methods)  # Starlette adds HEAD to GET, and a HEAD would train a network for nothing
    return route


async def send_page(page: StaticFile, request: Request) -> Response:
    """A file for the browser."""
    return Response(page.content, content_type=page.content_type, headers=page.headers)


def whole(response: Response) -> starlette.responses.Response:
    """A response of `http` as Starlette's, with the same headers."""
    answered = starlette.responses.Response(response.body, response.status)
    answered.raw_headers = [(b"content-type", response.content_type), *answered.raw_headers, *response.headers]
    return answered


def require_own_page(request: Request, name: str) -> None:
    """Refuse requests that another site made the browser send.

    Such a site uses a host name of its own, or sends requests from its pages.

    Raises:
        Refusal: the request comes from elsewhere.

    """
    host = request.headers.get(b"host", b"").decode("latin-1")
    bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if bare not in _LOOPBACK:
        raise Refusal(403, "foreign-host", f"the {name} answers at 127.0.0.1 and localhost only; got another host name")
    origin = request.headers.get(b"origin", b"").decode("latin-1")
    site = request.headers.get(b"sec-fetch-site", b"none")
    path = request.scope["path"]  # includes the prefix of a mounted application
    crossed = site not in (b"none", b"same-origin") and ("/api" in path or "/image" in path)
    if crossed or (origin and origin != f"http://{host}"):
        raise Refusal(403, "foreign-page", f"the {name} answers its own pages only; got a request from another site")
