"""Who may talk to the page: a browser on this machine that shows it, and no other page in that browser."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost", "[::1]")  # of this machine
REFUSAL = b"This page answers to its own address alone: open that in the browser.\n"


class OnlyThisMachine:
    """Refuses requests that were meant for another address, or that another page sends.

    A foreign page can make a browser talk to this machine: by a name of its own that it lets point here (DNS
    rebinding), or by an ordinary request across sites. Links from other pages work.

    Args:
        app: answers all other requests.
    """

    def __init__(self, app: App):
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] not in ("http", "websocket") or is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})


def is_allowed(scope: Message) -> bool:
    """Return whether a request comes from a page of this machine's own, or from none; the request is as ASGI has it."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").lower())
    port = scope["server"][1]
    hosts = {f"{name}:{port}" for name in NAMES} | set(NAMES if port == 80 else ())
    given = headers.get("host", [])
    if len(given) != 1 or given[0] not in hosts:
        return False
    if not set(headers.get("origin", [])) <= {f"http://{host}" for host in hosts}:
        return False
    if set(headers.get("sec-fetch-site", [])) <= {"same-origin", "none"}:
        return True
    # A link to the page, not a picture, a frame or a script that takes something from it.
    return scope["type"] == "http" and scope["method"] == "GET" and headers.get("sec-fetch-dest") == ["document"]
