"""Hearing one peer out over its link: drives `protocol.catchup` with the store and the door.

Never judges an item: what comes is handed to the caller, who hands it to the door. Specification, section 9.6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.gossip.link import Link
from coopnode.store import Tables
from protocol.catchup import CatchUp, Heard, must_compare
from protocol.limits import MAX_ITEMS, MAX_REPLY_BYTES
from protocol.messages import ANSWER_TO, Put

P = ParamSpec("P")
T = TypeVar("T")
Take = Callable[[Heard], Awaitable[None]]


class Stores(Protocol):
    """Where the store is read and written."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction."""


async def hear_out(stores: Stores, link: Link, salt: bytes, take: Take) -> None:
    """Bring over all that the peer holds and we lack, and send what only we hold where sets were compared.

    Refuses: unasked. Raises NoAnswer when the link ends. The cursor moves only after what came has been kept.
    """
    peer = link.peer
    assert peer is not None
    exchange = await stores.read(_begin, peer, link.store_nonce, salt)
    kept = exchange.mark
    while questions := exchange.questions():
        for question in questions:
            heard = exchange.receive(question, await link.ask_patiently(question, ANSWER_TO[type(question)]))
            if heard.identities or heard.statements or heard.heads:
                await take(heard)
        if exchange.mark is not None and exchange.mark != kept:
            kept = exchange.mark
            await stores.write(_set_cursor, peer, *kept)
    # Not before: what has just been replaced here is nothing that the peer lacks.
    for start in range(0, len(exchange.spare), MAX_ITEMS):
        for put in await stores.read(_puts, exchange.spare[start : start + MAX_ITEMS]):
            await link.drained()  # however much it lacks, a slow peer does not fill our memory
            link.send(put)
    if exchange.mark is not None and exchange.mark != kept:
        await stores.write(_set_cursor, peer, *exchange.mark)


def _begin(tables: Tables, peer: bytes, peer_nonce: bytes | None, salt: bytes) -> CatchUp:
    mark = tables.peers.cursor(peer)
    arrived = tables.peers.arrived_since(peer)
    ids = tables.items.ids() if must_compare(mark, peer_nonce, tables.items.number(), arrived) else None
    return CatchUp(mark, tables.items.frontier(), ids, salt)


def _set_cursor(tables: Tables, peer: bytes, nonce: bytes, cursor: int) -> None:
    tables.peers.set_cursor(peer, nonce, cursor)


def _puts(tables: Tables, ids: Sequence[bytes]) -> list[Put]:
    """Return messages with those of the items that are still here."""
    puts: list[Put] = []
    number = size = 0
    for item in map(tables.items.by_id, ids):
        if item is None:
            continue
        if not puts or number == MAX_ITEMS or size > MAX_REPLY_BYTES:
            puts.append(Put([], [], []))
            number = size = 0
        getattr(puts[-1], item.kind.value).append(item.data)
        number += 1
        size += len(item.data)
    return puts
