"""The aiohttp application of a node, and the life of a node's process.

Every error leaves as problem details (RFC 9457) with one sentence, or as a page that says it; nothing of a
traceback. Nothing here looks at the Host header or at cookies, and nothing needs to: whatever a browser can
ask for is public and changes nothing. The one door that takes something, `/coop/v1/applications`, wants
signed MessagePack under a type that no form sends and no script may send across sites. The websocket at
`/gossip/v1` does not look at Origin: without a member's key nobody gets past its handshake.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import re
import signal
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

import aiohttp
from aiohttp import web

from coopnode.catalog.index import DamagedIndexError
from coopnode.catalog.shelf import Memory
from coopnode.core import Core
from coopnode.errors import BadInput, NodeError
from coopnode.node import Node
from coopnode.server import api, coop, pages
from coopnode.server.control import Control
from coopnode.store import StoreError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.session import Role

log = logging.getLogger(__name__)
LAST_PORT = "last_port"
MAX_BODY_BYTES = 256 * 1024
MAX_LINE_BYTES = 128 * 1024
"""Of a request line: long enough that an overlong search is told so in words."""
SERVER = "coopnode"
PROBLEMS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method; the header Allow says which it takes."),
    413: ("too_large", f"A request has at most {MAX_BODY_BYTES} bytes."),
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def make_app(node: Node) -> web.Application:
    """Return the public application: gossip, co-op files, API and pages."""
    memory = Memory()
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_headers, _problems, _encoding])
    app.router.add_get("/gossip/v1", _gossip(node))
    app.router.add_routes(coop.routes(node))
    app.router.add_routes(list(api.routes(node, memory)))
    app.router.add_routes(pages.routes(node, memory))
    return app


def make_runner(node: Node) -> web.AppRunner:
    """Return what runs the public application."""
    return web.AppRunner(make_app(node), access_log=None, shutdown_timeout=2, max_line_size=MAX_LINE_BYTES)


async def serve(core: Core, *, on_ready: Callable[[Node], None] | None = None) -> None:
    """Run a node until it is told to stop. Raises NodeError when it cannot begin."""
    # Replication makes and drops millions of small lists and maps, none of them in a ring: with the
    # default of 700 the collector looks through them for nothing, again and again.
    gc.set_threshold(20_000, 20, 50)
    node = Node(core)
    stopping = asyncio.Event()
    runner = make_runner(node)
    await runner.setup()
    control = Control(node, stopping.set)
    try:
        url = await _listen_as_before(runner, core)
        await node.start(url)
        await control.start(core.folder)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        if on_ready is not None:
            on_ready(node)
        await _until(stopping, node)
    finally:
        await control.stop(core.folder)
        await node.stop()
        await runner.cleanup()


async def _until(stopping: asyncio.Event, node: Node) -> None:
    """Wait until somebody stops the node or it cannot go on."""
    assert node.failed is not None
    node.failed.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    if node.failed.done():
        error = node.failed.exception()
        raise error if isinstance(error, (NodeError, StoreError)) else NodeError(f"The node had to stop: {error}")


async def _listen_as_before(runner: web.AppRunner, core: Core) -> str:
    """Listen on the port of the settings; where that is any, on the one of the last time if it is still free.

    Members that restart at the same time would lose each other if each came back at a new address.
    """
    host, port = core.config.host, core.config.port
    if port == 0:
        last = core.store.read(lambda tables: tables.meta.get_int(LAST_PORT))
        try:
            url = await _listen(runner, host, last)  # 0 the first time: any
        except NodeError:
            url = await _listen(runner, host, 0)
    else:
        url = await _listen(runner, host, port)
    used = runner.addresses[0][1]
    core.store.write(lambda tables: tables.meta.set_int(LAST_PORT, used))
    return url


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NodeError(
                f"Port {port} on {host} is in use by another program. Stop that one, or choose another port: "
                "`coopnode run --port 8421`, or 'port' in the settings."
            ) from error
        if error.errno == errno.EACCES:
            raise NodeError(f"Port {port} needs rights that this user does not have. Use a port above 1023.") from error
        raise NodeError(f"The node cannot listen on {host}:{port}: {error.strerror or error}.") from error
    address = runner.addresses[0]
    shown = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
    return f"http://{shown}:{address[1]}"


def _gossip(node: Node) -> Handler:
    async def gossip(request: web.Request) -> web.StreamResponse:
        """Take a websocket from another member's node."""
        node.core.need_membership()
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES + 1024, compress=False, timeout=2)
        await socket.prepare(request)
        try:
            await node.gossiper.run_link(socket, Role.LISTENER, None)
        except (ConnectionError, aiohttp.ClientError) as error:
            log.debug("a link broke: %s", error)
        except Exception:
            # Not for `_problems`: the socket is a websocket by now, and no place for an HTTP answer.
            log.exception("a link failed")
        return socket

    return gossip


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say on every answer what a browser may do with it."""
    response = await handler(request)
    if response.prepared:  # a websocket that has come and gone
        return response
    response.headers["Server"] = SERVER
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if _is_for_programs(request):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = "ETag"
        response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    else:
        response.headers["Content-Security-Policy"] = pages.POLICY
    return response


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into problem details, or into a page where a person is reading."""
    headers: dict[str, str] = {}
    try:
        return await handler(request)
    except NodeError as error:
        status, kind, detail = error.status, error.problem, str(error)
    except StoreError as error:
        status, kind, detail = 503, "store", str(error)
    except DamagedIndexError as error:
        log.error("the search index is damaged")
        status, kind, detail = 503, "search_index", str(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        named = (error.reason.lower().replace(" ", "_"), f"{error.reason}.")
        status, (kind, detail) = error.status, PROBLEMS.get(error.status, named)
        if "Allow" in error.headers:
            headers["Allow"] = error.headers["Allow"]
    except Exception:
        log.exception("a request failed: %s %s", request.method, request.path)
        status, kind, detail = 500, "internal", "The node made a mistake. Its log says more."
    answer = problem(status, kind, detail) if _is_for_programs(request) else pages.failure(status, detail)
    answer.headers.update(headers)
    return answer


@web.middleware
async def _encoding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse an address that is not percent-encoded UTF-8: guessing would answer another question."""
    try:
        plain = unquote_to_bytes(request.raw_path).decode()
    except UnicodeError:
        plain = ""
    if not plain or _BROKEN_ESCAPE.search(request.raw_path):
        raise BadInput("The address is not percent-encoded UTF-8.", problem="bad_encoding")
    return await handler(request)


def _is_for_programs(request: web.Request) -> bool:
    return request.path.startswith(("/api/", "/coop/", "/gossip/"))


def problem(status: int, kind: str, detail: str) -> web.Response:
    """Return problem details (RFC 9457)."""
    body = {"type": f"urn:coopnode:problem:{kind}", "title": kind.replace("_", " "), "status": status, "detail": detail}
    return web.Response(text=json.dumps(body), status=status, content_type="application/problem+json")
