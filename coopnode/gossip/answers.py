"""Answering peers' questions from the store. Reads only; runs on a reader thread."""

from __future__ import annotations

from coopnode.core import Core
from coopnode.gossip.bridge import stored_segment
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from protocol import head as heads
from protocol import recon, trie
from protocol.head import Stream
from protocol.items import ItemKind
from protocol.limits import MAX_ITEMS, MAX_REPLY_BYTES
from protocol.messages import (
    Answer,
    GetItems,
    GetOps,
    GetPages,
    Items,
    News,
    Nodes,
    Ops,
    Pages,
    Question,
    Reconcile,
    Since,
    Status,
    WalkTrie,
)


def answer(tables: Tables, question: Question) -> Answer:
    """Return the answer to a peer's question."""
    match question:
        case Since():
            return _news(tables, question)
        case GetOps():
            return _ops(tables, question)
        case WalkTrie():
            return _nodes(tables, question)
        case GetPages():
            return _pages(tables, question)
        case Reconcile():
            nonce = tables.meta.get("store_nonce") or bytes(8)
            return recon.answer(tables.items.ids(), question, nonce, tables.items.last_seq())
        case GetItems():
            return _items_by_id(tables, question)


def _news(tables: Tables, question: Since) -> News:
    nonce = tables.meta.get("store_nonce") or bytes(8)
    last = tables.items.last_seq()
    if question.frontier == tables.items.frontier():
        return News(question.request, nonce, last, True, False, [], [], [])
    # A cursor belongs to one life of this store: after a restore it says nothing.
    cursor = question.cursor if question.store_nonce == nonce else 0
    news = News(question.request, nonce, cursor, False, False, [], [], [])
    size = 0
    items = tables.items.since(cursor, MAX_ITEMS)
    taken = 0
    for item in items:
        if size > MAX_REPLY_BYTES:
            break
        getattr(news, item.kind.value).append(item.data)
        size += len(item.data)
        taken += 1
        cursor = item.seq
    more = taken < len(items) or len(items) == MAX_ITEMS
    return News(
        question.request,
        nonce,
        cursor if more else last,
        False,
        more,
        news.heads,
        news.statements,
        news.identities,
    )


def _items_by_id(tables: Tables, question: GetItems) -> Items:
    found = Items(question.request, [], [], [])
    size = 0
    for item_id in question.ids:
        item = tables.items.by_id(item_id)
        if item is not None:
            getattr(found, item.kind.value).append(item.data)
            size += len(item.data)
        if size > MAX_REPLY_BYTES:
            break
    return found


def _ops(tables: Tables, question: GetOps) -> Ops:
    held = tables.catalogue.held(Stream(question.member_id, question.stream))
    if held is None or held.head is None or held.elsewhere:
        return Ops(question.request, None, [])  # of a part there is no bridge for others
    segments: list[list[object]] = []
    size = 0
    if heads.read(held.head).version.epoch == question.epoch:
        for rev, bodies in tables.catalogue.ops_from(held, question.epoch, question.from_rev):
            segments.append(stored_segment(rev, bodies))
            size += len(bodies)
    if size > MAX_REPLY_BYTES or len(segments) > MAX_ITEMS:
        segments = []  # so far behind that walking is cheaper
    return Ops(question.request, held.head, segments)


def _nodes(tables: Tables, question: WalkTrie) -> Nodes:
    held = tables.catalogue.held(Stream(question.member_id, question.stream))
    if held is None or held.head is None:
        return Nodes(question.request, None, b"", [])
    if heads.read(held.head).state_root != question.state_root:
        return Nodes(question.request, held.head, b"", [])
    if not question.collection:
        return Nodes(question.request, None, trie.state_body(held.state), [])
    if question.collection in held.elsewhere:
        return Nodes(question.request, None, b"", [])  # not here: whoever keeps it is to be asked
    return Nodes(question.request, None, b"", _items(tables, held, question))


def _items(tables: Tables, held: Held, question: WalkTrie) -> list[list[object]]:
    items: list[list[object]] = []
    size = 0
    for prefix in question.prefixes:
        node = tables.catalogue.node(held, question.collection, prefix)
        if isinstance(node, bytes):
            items.append([prefix, 1, node])
            size += len(node)
        else:
            items.append([prefix, 0, [[one.count, one.size, one.hash] for one in node]])
            size += 16 * 40
        if size > MAX_REPLY_BYTES:
            break
    return items


def _pages(tables: Tables, question: GetPages) -> Pages:
    pages: list[bytes] = []
    size = 0
    found = tables.book.after(question.after_slot, MAX_ITEMS)
    for data in found:
        pages.append(data)
        size += len(data)
        if size > MAX_REPLY_BYTES:
            break
    identities = [item.data for item in tables.items.of_kind(ItemKind.IDENTITY)][:MAX_ITEMS]
    return Pages(question.request, len(pages) < len(found) or len(found) == MAX_ITEMS, pages, identities)


def status_for(tables: Tables, core: Core, peer: bytes) -> Status:
    """Say to *peer* where we stand."""
    roster = core.need_membership().roster
    own = [item.data for item in tables.items.of_kind(ItemKind.HEAD, peer)]
    nonce = tables.meta.get("store_nonce") or bytes(8)
    return Status(roster.slot, roster.page_id, nonce, own[:16], core.scope.replica.value)
