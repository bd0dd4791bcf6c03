"""HTTP around `Api`: routes, refused requests, and the server's start and end."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from harness import places
from harness.plugins.failures import described
from harness.serving.api import Api
from harness.serving.gallery import UPLOAD_MIB, NoPictureError
from harness.serving.guard import Guard
from harness.structures import UserError

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SHARED = ("page.css", "data.js", "paint.js", "theme.js")
"""Files of the report page that this page uses as well."""

OWN = ("try.css", "state.js", "server.js", "gallery.js", "tiles.js", "stage.js", "save.js", "record.js", "try.js")

HEADERS = {
    # Nothing from elsewhere, no script but the page's own files, no frame around it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}

QUESTION_BYTES = 64 * 1024
"""The longest JSON that is read."""


def application(api: Api, guard: Guard) -> web.Application:
    """The page, its files and its questions."""
    app = web.Application(
        middlewares=[_answered(api, guard)],
        # An upload of a byte more is still read, so that the message can name the limit.
        client_max_size=UPLOAD_MIB * 2**20 + 1024,
    )
    app.router.add_get("/", _page(guard))
    for name in SHARED:
        app.router.add_get(f"/files/{name}", _file(f"harness/page/{name}"))
    for name in OWN:
        app.router.add_get(f"/files/{name}", _file(f"harness/serving/page/{name}"))
    app.router.add_get("/api/about", _of_query(lambda _: api.about()))
    app.router.add_get("/api/pictures", _of_query(lambda query: api.pictures(**_listed(query))))
    app.router.add_get("/api/picture", _of_query(api.picture))
    app.router.add_get("/api/pixels", _media(api.pixels))
    app.router.add_get("/api/thumb", _media(api.thumb))
    app.router.add_post("/api/truth", _of_json(api.truth))
    app.router.add_post("/api/predict", _of_json(api.predict))
    app.router.add_post("/api/saliency", _of_json(api.saliency))
    app.router.add_post("/api/record", _of_json(api.record))
    app.router.add_post("/api/upload", _upload(api))
    return app


def _page(guard: Guard) -> Handler:
    """The page. A link with the token sets the cookie and redirects to the page's address without the token.

    So the token is neither in the browser's history nor in an address that somebody copies for a friend.
    """
    html = places.shipped("harness/serving/page/try.html").read_bytes()

    async def handle(request: web.Request) -> web.StreamResponse:
        if "token" not in request.query:
            return web.Response(body=html, content_type="text/html", charset="utf-8")
        found = web.Response(status=303, headers={"Location": "/"})
        found.set_cookie(guard.cookie(request), guard.token, httponly=True, samesite="Strict", path="/")
        return found

    return handle


def _file(path: str) -> Handler:
    # Read once, when the server starts: a request then opens no file, whatever its path says.
    content = places.shipped(path).read_bytes()
    kind = "text/css" if path.endswith(".css") else "text/javascript"

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return handle


def _of_query(answer: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _json(await answer(dict(request.query)))

    return handle


def _listed(query: Mapping[str, Any]) -> dict[str, Any]:
    start = query.get("start", "0")
    if not start.isdecimal() or len(start) > 12:
        raise UserError(f"request, start: found '{start[:40]}'; wanted a whole number.")
    words = {name: query.get(name, "") for name in ("source", "around")}
    return words | {"search": query.get("search", "")[:200], "start": int(start)}


def _of_json(answer: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        # A form of another site's page can send JSON, but not with JSON's content type.
        if request.content_type != "application/json" or (request.content_length or 0) > QUESTION_BYTES:
            raise UserError(f"request: wanted JSON, application/json, of {QUESTION_BYTES} bytes at most.")
        try:
            raw = json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            raise UserError(f"request: found no JSON ({error}); wanted it.") from error
        if not isinstance(raw, dict):
            raise UserError("request: found no mapping; wanted one.")
        return _json(await answer(raw))

    return handle


def _media(answer: Callable[[Mapping[str, Any]], Awaitable[tuple[bytes, str]]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        content, kind = await answer(dict(request.query))
        return web.Response(body=content, content_type=kind)

    return handle


def _upload(api: Api) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        called = request.query.get("called", "")
        if request.content_type != "application/octet-stream":
            raise UserError("upload: wanted a picture's bytes, application/octet-stream.")
        try:
            content = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise UserError(f"'{called[:200]}': wanted {UPLOAD_MIB} MiB at most. Shrink it.") from error
        return _json(await api.upload(content, called))

    return handle


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _answered(api: Api, guard: Guard) -> Any:
    """Wraps every handler: checks who may ask, and turns errors into replies. All replies get `HEADERS`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _response(api, guard, request, handler)
        response.headers.update(HEADERS)
        return response

    return middleware


async def _response(api: Api, guard: Guard, request: web.Request, handler: Handler) -> web.StreamResponse:
    # The site is checked before the token: a browser sends its cookie along with another site's request, too.
    if why := guard.refusal(request):
        return _json({"error": why}, 403)
    if not guard.knows_token(request):
        return _json({"error": "This page needs its token: open the link that `try` printed when it started."}, 401)
    try:
        return await handler(request)
    except NoPictureError as error:
        return _json({"error": api.said(str(error)), "gone": True}, 404)
    except UserError as error:
        return _json({"error": api.said(str(error))}, 400)
    except web.HTTPException as error:
        return _json({"error": f"{error.status} {error.reason}"}, error.status)
    except Exception as error:
        _log.exception("a question was not answered: %s", request.path)
        return _json({"error": api.said(described(error))}, 500)


@asynccontextmanager
async def listening(api: Api, guard: Guard, host: str, port: int) -> AsyncIterator[str]:
    """A server that answers as long as the block runs; yields the address of its page.

    Raises:
        UserError: It cannot listen there.
    """
    # When a browser takes a request back, as it does at the next click, its handler is cancelled, and with it a
    # question that still waits for its turn. Without this, ten quick clicks would be ten answers in a row.
    runner = web.AppRunner(application(api, guard), handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, shutdown_timeout=1)
        try:
            await site.start()
        except OSError as error:
            raise UserError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror or error}). Choose another port, "
                "such as --port 0, which takes a free one."
            ) from error
        taken = runner.addresses[0][1]
        yield f"http://{_name(host)}:{taken}/" + (f"?token={guard.token}" if guard.token else "")
    finally:
        await runner.cleanup()


def _name(host: str) -> str:
    """The name by which a browser reaches a host that the server listens at."""
    # These mean all addresses of this machine, and lead nowhere from another one.
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def serve(api: Api, host: str, port: int, begins: Callable[[str], None]) -> None:
    """Answer requests until an interrupt.

    Args:
        api: Answers the requests.
        host: The host to listen at.
        port: The port to listen at; 0 takes a free one.
        begins: Called with the page's address once it can be opened.

    Raises:
        UserError: It cannot listen there.
    """

    async def forever() -> None:
        async with listening(api, Guard.of(host), host, port) as address:
            begins(address)
            await asyncio.Event().wait()

    try:
        asyncio.run(forever())
    finally:
        api.close()
