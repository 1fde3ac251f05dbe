"""What a proxy and pages of other sites need: the path prefix, and CORS.

Enters: `--root-path` and `--cors-origin`. Leaves: the path below the prefix, response headers. Called by `app.py`.

Source: WHATWG Fetch, "HTTP extensions" (3.2 CORS protocol).
"""

from dataclasses import dataclass

from catseye.http.bodies import Request
from catseye.http.responses import SAFE_HEADERS, Response

Headers = tuple[tuple[bytes, bytes], ...]
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Inference-Header-Content-Length"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = (
    b"access-control-expose-headers",
    b"X-Request-Id, X-Catseye-Model, Retry-After, Inference-Header-Content-Length",
)


@dataclass(frozen=True)
class Front:
    """How this server looks from outside."""

    root_path: str = ""
    cors_origins: tuple[str, ...] = ()

    def path_of(self, path: str) -> str:
        """The path below the prefix, whether or not the proxy has removed it."""
        if self.root_path and (path == self.root_path or path.startswith(self.root_path + "/")):
            return path[len(self.root_path) :] or "/"
        return path

    def redirect(self, path: str) -> Response | None:
        """Add the last slash; without it, the page's relative addresses would fail."""
        if not self.root_path or path != self.root_path:
            return None
        return Response(b"", 308, b"text/plain", (*SAFE_HEADERS, (b"location", f"{self.root_path}/".encode())))

    def cors_headers(self, request: Request) -> Headers:
        """The headers that let another site's page read the response, if it may."""
        if not self.cors_origins:
            return ()
        origin = request.headers.get(b"origin", b"")
        if "*" in self.cors_origins:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        vary = (b"vary", b"Origin")  # a cache must not give one site the answer of another
        if origin.decode("latin-1") not in self.cors_origins:
            return (vary,)
        return ((b"access-control-allow-origin", origin), vary, _EXPOSED)

    def preflight(self, request: Request) -> Response | None:
        """The response to a CORS preflight; None for any other request."""
        is_preflight = request.scope["method"] == "OPTIONS" and b"access-control-request-method" in request.headers
        if not (is_preflight and self.cors_origins):
            return None
        return Response(b"", 200, b"text/plain", (*SAFE_HEADERS, *_PREFLIGHT))
