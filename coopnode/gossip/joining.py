"""Joining a co-op: from an invitation to a verified charter and roster, over plain HTTP.

Never trusts the node that answers: everything is checked against the co-op id, which came with the
invitation. Specification, section 10.6.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import aiohttp

from coopnode.core import Core
from coopnode.errors import NodeError
from coopnode.store import Tables
from protocol import invitation, shape
from protocol.encoding import encode, unpack
from protocol.errors import Refused
from protocol.invitation import Invitation
from protocol.limits import MAX_MESSAGE_BYTES, MAX_STATEMENT_BYTES

log = logging.getLogger(__name__)
MAX_PROBLEM_BYTES = 64 * 1024

TIMEOUT = aiohttp.ClientTimeout(total=20)
EVERY_SECONDS = 0.3
_PAGES: tuple[tuple[str, shape.Check], ...] = (
    ("more", shape.boolean),
    ("pages", shape.array(shape.blob(1, MAX_MESSAGE_BYTES), 0, 1_000)),
    ("identities", shape.array(shape.blob(65, MAX_STATEMENT_BYTES + 64), 0, 1_000)),
)


class Home(Protocol):
    """What joining needs of a running node."""

    @property
    def core(self) -> Core:
        """The node's rules and store."""

    async def adopt_pages(self, pages: Sequence[bytes], identity_log: Sequence[bytes]) -> None:
        """Take official pages. Refuses a page that is not right."""

    async def begin_membership(self) -> None:
        """Do what a co-op makes possible."""


async def join(core: Core, text: str) -> dict[str, Any]:
    """Use an invitation: fetch and verify charter and pages, hand in the application.

    Works without a running node; `keep_applying` then waits for the page that admits us. Raises NodeError.
    """
    try:
        invited = invitation.from_text(text)
    except Refused as refused:
        raise NodeError(f"This is not a whole invitation: {refused.detail}.") from refused
    held = core.membership
    if held is not None and (core.is_member or held.coop_id != invited.coop_id):
        raise NodeError(f"This node belongs to the co-op '{held.roster.name}' already.")
    async with aiohttp.ClientSession(timeout=TIMEOUT) as client:
        problems = []
        for url in invited.endpoints:
            try:
                return await _join_at(core, client, url, invited)
            except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                problems.append(f"{url}: {error or type(error).__name__}")
    where = "; ".join(problems) or "the invitation names no address"
    raise NodeError(f"No member's node could be reached to join ({where}). Ask for a new invitation or try later.")


async def _join_at(core: Core, client: aiohttp.ClientSession, url: str, invited: Invitation) -> dict[str, Any]:
    bundle = await _get(client, f"{url}/coop/v1/genesis")
    application = core.write(_begin, core, invited, bundle)
    await fetch_pages(core, client, url, _adopt_now(core))
    await _apply(client, url, invited, application)
    held = core.need_membership()
    return {
        "coop": held.roster.name,
        "coop_id": held.coop_id.hex(),
        "members": len(held.roster.members),
        "page": held.roster.slot,
        "state": "member" if core.is_member else "applied",
    }


def _begin(tables: Tables, core: Core, invited: Invitation, bundle: bytes) -> bytes:
    if core.membership is None:  # else an earlier try has come so far
        core.adopt_genesis(tables, bundle, invited.coop_id)
    application = core.application(tables, invited)
    tables.meta.set("application", application)
    return application


def _adopt_now(core: Core) -> Callable[[Sequence[bytes], Sequence[bytes]], Awaitable[None]]:
    async def adopt(pages: Sequence[bytes], identity_log: Sequence[bytes]) -> None:
        _, refused = core.write(core.adopt_pages, pages, identity_log)
        if refused is not None:
            raise refused

    return adopt


async def fetch_pages(
    core: Core,
    client: aiohttp.ClientSession,
    url: str,
    adopt: Callable[[Sequence[bytes], Sequence[bytes]], Awaitable[None]],
) -> None:
    """Fetch the official pages that we do not have yet. Refuses what is not right."""
    while True:
        slot = core.need_membership().roster.slot
        data = await _get(client, f"{url}/coop/v1/pages?after={slot}")
        more, pages, identity_log = shape.row(unpack(data), _PAGES)
        await adopt(pages, identity_log)
        if not more or core.need_membership().roster.slot == slot:
            return


async def keep_applying(home: Home, client: aiohttp.ClientSession) -> None:
    """While we are not a member yet: ask the inviting nodes for new pages, and apply again. Never returns."""
    core = home.core
    wait = EVERY_SECONDS
    while True:
        await asyncio.sleep(wait)
        if core.membership is None or core.is_member:
            continue
        text, application = core.store.read(_application)
        if text is None or application is None:
            continue
        invited = invitation.from_text(text)
        for url in invited.endpoints:
            try:
                await fetch_pages(core, client, url, home.adopt_pages)
                if not core.is_member:
                    await _apply(client, url, invited, application)
            except (aiohttp.ClientError, OSError, TimeoutError, NodeError, Refused) as error:
                log.info("waiting to be admitted: %s", error)
        wait = min(1.5 * wait, 10.0)


def _application(tables: Tables) -> tuple[str | None, bytes | None]:
    text = tables.meta.get("invitation")
    return None if text is None else text.decode(), tables.meta.get("application")


async def _get(client: aiohttp.ClientSession, url: str) -> bytes:
    async with client.get(url, allow_redirects=False) as answer:
        answer.raise_for_status()
        data = await answer.content.read(4 * MAX_MESSAGE_BYTES)
        if not answer.content.at_eof():
            raise NodeError(f"{url} sends more than a node may.")
        return data


async def _apply(client: aiohttp.ClientSession, url: str, invited: Invitation, application: bytes) -> None:
    body = encode([invited.statement.signed.to_bytes(), application])
    async with client.post(f"{url}/coop/v1/applications", data=body, allow_redirects=False) as answer:
        if answer.status >= 400:
            raise NodeError(f"The application was refused: {await _detail(answer)}")


async def _detail(answer: aiohttp.ClientResponse) -> str:
    """Return what a node says of a problem, as far as it says it in few words."""
    try:
        problem = json.loads(await answer.content.read(MAX_PROBLEM_BYTES))
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return str(detail or answer.reason)
