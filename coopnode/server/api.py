"""The JSON API for buyers. Read only; shapes are in docs/api.md.

Never changes anything, so it asks nobody who they are and any web page may read it; there is no Host check
for the same reason: a page that rebinds its name to this address learns what everybody may read.
The thing to understand: an answer is made from one snapshot of the store, and its tag names that snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import ETag, web

import coopnode
from coopnode import desk
from coopnode.catalog import words
from coopnode.catalog.shelf import Json, Memory, Shelf
from coopnode.errors import BadInput, NodeError, NotFound
from coopnode.membership import Membership
from coopnode.node import Node
from coopnode.server import asking, standing
from coopnode.store import Tables

MAX_LIMIT = 100
MAX_OFFSET = 9_900
"""With the highest limit it reaches the last hit that the index pages through."""
ROWS, MAX_ROWS = 100, 1_000
MAX_ROW_OFFSET = 1_000_000
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "If-None-Match",
    "Access-Control-Max-Age": "86400",
}
Make = Callable[[Tables, Shelf], Json]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(node: Node, memory: Memory) -> Iterator[web.RouteDef]:
    """Return the routes of this room."""

    async def listings(request: web.Request) -> web.Response:
        """Search the co-op's catalogue: `q`, `limit`, `offset`."""
        text, limit, offset = search_asked(request)
        passed = None if only_here(request) else await asking.search(node, memory, text, limit, offset)
        if passed is not None:
            return fresh(passed)
        return await reply(request, lambda _, shelf: asking.results(node, shelf, text, limit, offset))

    async def listing(request: web.Request) -> web.Response:
        """Return one listing of one member."""
        member_id, sku = listing_named(request)
        passed = None if only_here(request) else await asking.listing(node, memory, member_id, sku)
        if passed is not None:
            return fresh(passed)
        return await reply(request, lambda _, shelf: asking.found_listing(shelf, member_id, sku))

    async def proved_listings(request: web.Request) -> web.Response:
        """Search, and return what is found with proofs: `q`, `limit`, `offset`."""
        need_coop(node)
        text, limit, offset = search_asked(request)
        passes_on = not only_here(request)
        return packed(await asking.proved_search(node, memory, text, limit, offset, passes_on=passes_on))

    async def proved_listing(request: web.Request) -> web.Response:
        """Return one listing with its proof, or the proof that there is none: `member`, `sku`."""
        need_coop(node)
        member_id, sku = desk.read_member_id(request.query.get("member", "")), request.query.get("sku", "")
        return packed(await asking.proved_listing(node, memory, member_id, sku, passes_on=not only_here(request)))

    async def members(request: web.Request) -> web.Response:
        """Return members and how complete their catalogues are here."""
        held = need_coop(node)
        limit, offset = rows(request)

        def make(_: Tables, shelf: Shelf) -> Json:
            return {
                "coop": held.roster.name,
                "coop_id": held.coop_id.hex(),
                "total": len(held.roster.members),
                "limit": limit,
                "offset": offset,
                "members": shelf.members(limit, offset),
                "coverage": shelf.coverage(),
            }

        return await reply(request, make)

    async def member(request: web.Request) -> web.Response:
        """Return one member."""
        member_id = desk.read_member_id(request.match_info["member"])
        if member_id not in need_coop(node).roster.members:
            raise NotFound("There is no such member in this co-op, as far as is known here.")
        return await reply(request, lambda _, shelf: shelf.member(member_id))

    async def proposals(request: web.Request) -> web.Response:
        """Return proposals with this node's provisional counts, the latest first."""
        need_coop(node)
        limit, offset = rows(request)

        def make(_: Tables, shelf: Shelf) -> Json:
            return {
                "total": shelf.proposal_count(),
                "limit": limit,
                "offset": offset,
                "proposals": shelf.proposals(limit, offset),
            }

        return await reply(request, make, polls=True)

    async def proposal(request: web.Request) -> web.Response:
        """Return one proposal with this node's provisional count."""
        need_coop(node)
        wanted = proposal_id(request.match_info["id"])
        return await reply(
            request, lambda tables, shelf: shelf.proposal(node.core.proposal(tables, wanted)), polls=True
        )

    async def status(request: web.Request) -> web.Response:
        """Say what this node is and how much it holds."""
        taken = standing.picture(node)
        return await reply(
            request,
            lambda tables, shelf: {**node_status(node, tables, shelf), **standing.tell(taken, node, shelf)},
            mark=taken.mark,
        )

    async def reply(request: web.Request, make: Make, *, polls: bool = False, mark: str = "") -> web.Response:
        """Answer with what *make* returns, or with 304 where the asker has it already."""
        asked = {tag.value for tag in request.if_none_match or ()}

        def read(tables: Tables) -> tuple[str, str | None]:
            shelf = Shelf(tables, node.core, memory)
            tag = f"{node.core.publisher.instance.hex()}.{shelf.mark}.{node.follower.done_seq}"
            if mark:
                tag = f"{tag}.{mark}"
            if polls:
                opened, closed = shelf.turns()
                tag = f"{tag}.{opened}.{closed}"
            return tag, None if tag in asked else to_json(make(tables, shelf))

        tag, text = await node.read(read)
        if text is None:
            response = web.Response(status=304)
        else:
            response = web.Response(text=text, content_type="application/json")
        # Weak: an age runs on while the tag stays the same.
        response.etag = ETag(tag, is_weak=True)
        response.headers["Cache-Control"] = "no-cache"
        return response

    yield from _readable("/api/v1/listings", listings)
    yield from _readable("/api/v1/listings/{member}/{sku:.*}", listing)
    yield from _readable("/api/v1/proved/listings", proved_listings)
    yield from _readable("/api/v1/proved/listing", proved_listing)
    yield from _readable("/api/v1/members", members)
    yield from _readable("/api/v1/members/{member}", member)
    yield from _readable("/api/v1/proposals", proposals)
    yield from _readable("/api/v1/proposals/{id}", proposal)
    yield from _readable("/api/v1/status", status)


def _readable(path: str, handler: Handler) -> Iterator[web.RouteDef]:
    """Serve GET and HEAD, and the question that a browser asks before it sends If-None-Match."""
    yield web.get(path, handler)
    yield web.options(path, _preflight)


async def _preflight(_: web.Request) -> web.Response:
    return web.Response(status=204, headers=PREFLIGHT)


# ── what is asked, and what is answered: the pages share this ─────────────────────────────────────


def query_text(request: web.Request) -> str:
    """Read `q`. Raises BadInput where it is longer than a search may be."""
    text = request.query.get("q", "")
    if len(text) > words.MAX_QUERY_CHARS:
        raise BadInput(f"A search has at most {words.MAX_QUERY_CHARS} characters, this one has {len(text)}.")
    return text


def listing_named(request: web.Request) -> tuple[bytes, str]:
    """Read whose listing is asked for, and which.

    The sku is the rest of the path, slashes included. "." and ".." mean something else in a path, so an
    empty rest lets the query name it: `?sku=..`.
    """
    return desk.read_member_id(request.match_info["member"]), request.match_info["sku"] or request.query.get("sku", "")


def search_asked(request: web.Request) -> tuple[str, int, int]:
    """Read what is searched for: text, limit and offset."""
    limit = number(request, "limit", 20, 1, MAX_LIMIT)
    return query_text(request), limit, number(request, "offset", 0, 0, MAX_OFFSET)


def only_here(request: web.Request) -> bool:
    """Whether the asker wants what is kept here and nothing else: so do nodes that pass a question on."""
    return number(request, "here", 0, 0, 1) == 1


def fresh(value: Json) -> web.Response:
    """Answer with what another node has said just now: no tag of ours names it."""
    return web.Response(text=to_json(value), content_type="application/json", headers={"Cache-Control": "no-store"})


def packed(body: bytes) -> web.Response:
    """Answer with records and their proofs."""
    return web.Response(body=body, content_type="application/msgpack", headers={"Cache-Control": "no-cache"})


def need_coop(node: Node) -> Membership:
    """Return the membership, or raise what tells a buyer that there is none yet."""
    held = node.core.membership
    if held is None:
        raise NodeError("This node belongs to no co-op yet.", problem="no_coop")
    return held


def proposal_id(text: str) -> bytes:
    """Read a proposal's whole id. Raises NotFound: an id that cannot exist is not here."""
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise NotFound("A proposal's id has 64 hex digits.")
    return bytes.fromhex(text)


def node_status(node: Node, tables: Tables, shelf: Shelf) -> Json:
    """Return what a node tells anybody about itself."""
    held = node.core.membership
    return {
        "version": coopnode.__version__,
        "name": node.core.config.name,
        "member": node.core.member_id.hex(),
        "is_member": node.core.is_member,
        "coop": None if held is None else held.roster.name,
        "coop_id": None if held is None else held.coop_id.hex(),
        "page": None if held is None else held.roster.slot,
        "frontier": tables.items.frontier().hex(),
        "replica": node.core.scope.replica.value,
        "coverage": shelf.coverage(),
        "searchable": node.follower.done_seq >= shelf.mark.change,
    }


def rows(request: web.Request) -> tuple[int, int]:
    """Read `limit` and `offset` of a list that is no search."""
    return number(request, "limit", ROWS, 1, MAX_ROWS), number(request, "offset", 0, 0, MAX_ROW_OFFSET)


def number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Read a number from the query. Raises BadInput with its bounds."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
        raise BadInput(f"'{name}' must be a whole number from {low} to {high}.")
    return int(text)


def to_json(value: Json) -> str:
    """Write an answer."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
