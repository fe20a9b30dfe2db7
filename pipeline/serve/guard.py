"""What every request and every answer passes: checks of Host and Origin, and headers that keep a page to itself.

A page of another site must not use this server through the browser of the person who runs it. A request by a name that
is not this machine's is refused (DNS rebinding), and so is one that changes something and comes from another page.
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of all answers that set none themselves: a page may load nothing from anywhere else."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the id of a job is all that protects it
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware that refuses requests of other sites, and adds the headers above."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()):
        """Accept localhost, addresses, this machine's name, and `names`."""
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 421 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refuse(scope["method"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_guarded)

    def _refuse(self, method: str, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            remedy = "open it as localhost, or start it with --allow-host and this name"
            return JSONResponse({"error": f"this server does not answer to the name {host[:200]!r}; {remedy}"}, 421)
        if method not in ("GET", "HEAD") and origin is not None and _place(origin) != host.lower():
            return JSONResponse({"error": f"a page of {origin[:200]!r} must not use this server"}, 403)
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this server; an address can belong to no other site."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or bool(name and ipaddress.ip_address(name))
        except ValueError:
            return False


def _place(origin: str) -> str:
    """Return host and port of an Origin header; an empty text for one that is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # a bracket that is not closed
        return ""
