"""The co-op's public files over plain HTTP, and the door for newcomers. Specification, section 10.6.

Anybody may read: charter, pages and identities are what makes everything else verifiable.
"""

from __future__ import annotations

from aiohttp import web

from coopnode.errors import BadInput, NodeError, NotFound
from coopnode.gossip.answers import answer
from coopnode.ingest import Fate
from coopnode.node import Node
from protocol import shape
from protocol.encoding import decode, encode
from protocol.errors import Refused
from protocol.items import ItemKind
from protocol.limits import MAX_STATEMENT_BYTES
from protocol.messages import GetPages, Pages

_APPLICATION: tuple[tuple[str, shape.Check], ...] = (
    ("invitation", shape.blob(65, MAX_STATEMENT_BYTES + 64)),
    ("application", shape.blob(65, MAX_STATEMENT_BYTES + 64)),
)
MSGPACK = "application/msgpack"
APPLICATION_TYPES = (MSGPACK, "application/octet-stream")
"""What a web page may not send here unasked (it is asked first, and the answer is no)."""


def routes(node: Node) -> list[web.RouteDef]:
    """Return the routes of this room."""

    async def genesis(request: web.Request) -> web.Response:
        """Return the genesis bundle."""
        bundle = await node.read(lambda tables: tables.book.genesis())
        if bundle is None:
            raise NotFound("This node belongs to no co-op yet.")
        return web.Response(body=bundle, content_type=MSGPACK)

    async def pages(request: web.Request) -> web.Response:
        """Return official pages after a slot, with the identity statements needed to check them."""
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            raise BadInput("'after' must be the number of a page.")
        found = await node.read(answer, GetPages(0, int(after)))
        assert isinstance(found, Pages)
        return web.Response(body=encode([found.more, found.pages, found.identities]), content_type=MSGPACK)

    async def applications(request: web.Request) -> web.Response:
        """Take an application with its invitation; the page that admits comes when all have signed."""
        if request.content_type not in APPLICATION_TYPES:
            raise NodeError(f"An application is sent as {MSGPACK}.", status=415, problem="unsupported_type")
        try:
            body = decode(await request.read(), 2 * MAX_STATEMENT_BYTES + 256)
            invitation, application = shape.row(body, _APPLICATION)
        except Refused as refused:
            raise BadInput(f"This is not an application: {refused.detail}.", problem=refused.reason.value) from refused
        outcomes = await node.take([(ItemKind.STATEMENT, invitation), (ItemKind.STATEMENT, application)], None)
        for outcome in outcomes:
            if outcome.fate in (Fate.REFUSED, Fate.PARKED) and outcome.reason is not None:
                raise NodeError(outcome.detail, problem=outcome.reason.value)
        return web.Response(status=202)

    return [
        web.get("/coop/v1/genesis", genesis),
        web.get("/coop/v1/pages", pages),
        web.post("/coop/v1/applications", applications),
    ]
