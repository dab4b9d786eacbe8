"""Finding out how our items and a peer's differ when no cursor tells, and bringing over what is missing.

Never judges an item: what comes is handed to the caller, who hands it to the door. Specification, section 9.6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.gossip.link import Link
from coopnode.ingest import object_id
from coopnode.store import Tables
from protocol.errors import Reason, Refused
from protocol.limits import MAX_ITEMS, MAX_REPLY_BYTES, RECON_FROM_ITEMS
from protocol.messages import GetItems, Items, Put, Reconciled
from protocol.recon import Reconciler

P = ParamSpec("P")
T = TypeVar("T")
Take = Callable[[Items], Awaitable[None]]


class Reads(Protocol):
    """Where the store is read."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""


async def reconcile(reads: Reads, link: Link, salt: bytes, take: Take) -> tuple[bytes, int] | None:
    """Make our items and the peer's equal, as far as both doors let them in.

    Return the peer's store nonce and cursor as of the beginning, or None when this way does not serve: we hold so
    little that everything may as well be sent, or the peer has no end of differences.
    """
    ids = await reads.read(_ids)
    if len(ids) <= RECON_FROM_ITEMS:
        return None
    asking = Reconciler(ids, salt)
    mark: tuple[bytes, int] | None = None
    lacking: list[bytes] = []
    spare: list[bytes] = []
    while questions := asking.questions():
        for question in questions:
            answer = await link.ask_patiently(question, Reconciled)
            # Of the first answer: what arrives there while we talk comes after this cursor.
            mark = mark or (answer.store_nonce, answer.cursor)
            told = asking.receive(question, answer)
            lacking += told.lacking
            spare += told.spare
            while len(lacking) >= MAX_ITEMS:
                await _fetch(link, lacking[:MAX_ITEMS], take)
                del lacking[:MAX_ITEMS]
    if not asking.done:
        return None
    if lacking:
        await _fetch(link, lacking, take)
    # Not before: what has just been replaced here is nothing that the peer lacks.
    for start in range(0, len(spare), MAX_ITEMS):
        for put in await reads.read(_puts, spare[start : start + MAX_ITEMS]):
            await link.drained()  # however much it lacks, a slow peer does not fill our memory
            link.send(put)
    return mark


async def _fetch(link: Link, ids: Sequence[bytes], take: Take) -> None:
    """Fetch items by their ids. Refuses others: unasked."""
    wanted = dict.fromkeys(ids)
    while wanted:
        items = await link.ask_patiently(GetItems(0, list(wanted)), Items)
        came = {object_id(data) for data in (*items.heads, *items.statements, *items.identities)}
        if not came:
            return  # they have been replaced meanwhile: the later word comes as news
        if not came <= wanted.keys():
            raise Refused(Reason.UNASKED, "items came that were not asked for")
        await take(items)
        for item_id in came:
            del wanted[item_id]


def _ids(tables: Tables) -> list[bytes]:
    return tables.items.ids()


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
