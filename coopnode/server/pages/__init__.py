"""The first web pages, for buyers: search, a listing, the members, the votes.

Never runs a script, never loads anything from elsewhere (no picture of a seller either: it would tell the
seller who is looking), never sets a cookie. Every text of others goes through `phrases.plain` and the
template's escaping on its way out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import jinja2
from aiohttp import web

import coopnode
from coopnode import desk
from coopnode.catalog.shelf import Json, Memory, Shelf
from coopnode.errors import NotFound
from coopnode.node import Node
from coopnode.server import api, asking
from coopnode.server.pages import phrases
from coopnode.store import Tables

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STATIC = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
LISTINGS_A_PAGE, MEMBERS_A_PAGE, POLLS_A_PAGE = 20, 100, 20
Make = Callable[[Tables, Shelf], Json]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("coopnode.server.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=phrases.shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(phrases.FILTERS)
    made.globals.update(version=coopnode.__version__)
    return made


_TEMPLATES = _templates()


def routes(node: Node, memory: Memory) -> list[web.RouteDef]:
    """Return the routes of this room."""

    async def search(request: web.Request) -> web.Response:
        """Search what the co-op sells: `q`, `offset`."""
        text = api.query_text(request)
        offset = api.number(request, "offset", 0, 0, api.MAX_OFFSET)

        here = api.only_here(request)
        passed = None if here else await asking.search(node, memory, text, LISTINGS_A_PAGE, offset)

        def make(_: Tables, shelf: Shelf) -> Json:
            found = passed or asking.results(node, shelf, text, LISTINGS_A_PAGE, offset)
            return {**found, "q": text, "last_offset": api.MAX_OFFSET}

        return await page("search.html", make)

    async def listing(request: web.Request) -> web.Response:
        """Show one listing."""
        member_id, sku = api.listing_named(request)
        passed = None if api.only_here(request) else await asking.listing(node, memory, member_id, sku)
        return await page(
            "listing.html", lambda _, shelf: {"one": passed or asking.found_listing(shelf, member_id, sku)}
        )

    async def members(request: web.Request) -> web.Response:
        """Show the members of the co-op."""
        offset = api.number(request, "offset", 0, 0, api.MAX_ROW_OFFSET)
        total = 0 if node.core.membership is None else len(node.core.membership.roster.members)

        def make(_: Tables, shelf: Shelf) -> Json:
            return {
                "total": total,
                "offset": offset,
                "limit": MEMBERS_A_PAGE,
                "members": shelf.members(MEMBERS_A_PAGE, offset),
                "coverage": shelf.coverage(),
            }

        return await page("members.html", make)

    async def member(request: web.Request) -> web.Response:
        """Show one member."""
        member_id = desk.read_member_id(request.match_info["member"])
        held = node.core.membership
        if held is None or member_id not in held.roster.members:
            raise NotFound("There is no such member in this co-op, as far as is known here.")
        return await page("member.html", lambda _, shelf: {"one": shelf.member(member_id)})

    async def votes(request: web.Request) -> web.Response:
        """Show the proposals and their provisional counts."""
        offset = api.number(request, "offset", 0, 0, api.MAX_ROW_OFFSET)

        def make(_: Tables, shelf: Shelf) -> Json:
            return {
                "total": shelf.proposal_count(),
                "offset": offset,
                "limit": POLLS_A_PAGE,
                "proposals": shelf.proposals(POLLS_A_PAGE, offset),
            }

        return await page("votes.html", make)

    async def page(template: str, make: Make) -> web.Response:
        """Fill in a template from one snapshot of the store; without a co-op, say what to do first."""
        held = node.core.membership
        if held is None:
            return _html(200, "no_coop.html", node=node.core.config.name)

        def fill(tables: Tables) -> web.Response:
            shelf = Shelf(tables, node.core, memory)
            common = {"coop": held.roster.name, "node": node.core.config.name, "now_ms": node.core.world.now_ms()}
            return _html(200, template, **common, **make(tables, shelf))

        return await node.read(fill)

    shown = [
        ("/", search),
        ("/listing/{member}/{sku:.*}", listing),
        ("/members", members),
        ("/members/{member}", member),
        ("/votes", votes),
    ]
    return [
        *(web.get(path, handler) for path, handler in shown),
        *(web.get(f"/static/{name}", _static(name, kind)) for name, kind in STATIC.items()),
    ]


def failure(status: int, sentence: str) -> web.Response:
    """Return the page that says what went wrong. Needs neither store nor co-op."""
    return _html(status, "failure.html", code=status, sentence=sentence)


def _html(status: int, template: str, **values: Any) -> web.Response:
    text = _TEMPLATES.get_template(template).render(values)
    headers = {"Cache-Control": "no-cache"}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)


def _static(name: str, kind: str) -> Handler:
    body = (resources.files("coopnode.server.pages") / "static" / name).read_bytes()
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "max-age=3600"}

    async def static(_: web.Request) -> web.Response:
        """Return a file that belongs to the pages."""
        return web.Response(body=body, headers=headers)

    return static
