"""Find the responder for a path and method, with the right refusals (sans-IO)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from transports.http.message import Request, Responder, Response, refuse


class Router:
    """Exact paths only; HEAD is answered by GET's responder, whose body is then not sent.

    Args:
        routes: responders by path, then by method.
    """

    def __init__(self, routes: Mapping[str, Mapping[str, Responder]]) -> None:
        self._routes = {path: dict(methods) for path, methods in routes.items()}
        for methods in self._routes.values():
            if "GET" in methods:
                methods.setdefault("HEAD", methods["GET"])

    def respond(self, request: Request) -> Response:
        """Return the responder's answer, or 404, or 405 with Allow; OPTIONS gets 200 with Allow."""
        methods = self._routes.get(request.path)
        if methods is None:
            return refuse(404, "nothing is here")
        responder = methods.get(request.method)
        if responder is not None:
            return responder(request)
        allow = ("allow", ", ".join(sorted({*methods, "OPTIONS"})))
        if request.method == "OPTIONS":
            return Response(200, headers=(allow,))
        return refuse(405, "this method is not for this path", allow)


def split_target(target: str) -> tuple[str, str] | None:
    """Return (path, query) of a request target (RFC 9112, section 3.2), or None when malformed.

    Origin form, absolute form and the asterisk are understood; the path is not decoded.
    """
    if target == "*":
        return "*", ""
    if not target.isascii() or not target.isprintable() or " " in target or "#" in target:
        return None
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return parts.path or "/", parts.query
