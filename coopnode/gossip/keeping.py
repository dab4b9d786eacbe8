"""What is kept here of which catalogue: what is wanted now, what lags behind, and dropping what is wanted no more.

Runs in a transaction; never asks anybody. The thing to understand: a state is *in step* when it is that of the
latest head and holds the records of exactly the collections that are wanted. A profile that has come may make
more of the same state wanted, as it says where its member lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coopnode.ingest import head_slot
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from coopnode.store.tries import Changed
from protocol import head as heads
from protocol import records
from protocol.errors import Refused
from protocol.head import Head, Stream
from protocol.items import ItemKind
from protocol.limits import STREAM_PUBLIC
from protocol.records import PROFILE, PROFILE_KEY
from protocol.scope import Wants, elsewhere

PROFILE_REST_MS = 3_600_000
"""So far a catalogue of which the profile alone is kept may be behind: else each price of somebody whose catalogue
nobody wants here would cost a question."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What is no longer kept of a stream, for the read models."""

    stream: Stream
    changed: Mapping[str, Changed]
    change_seq: int


def wants_of(tables: Tables, scope: Scope, head: Head) -> Wants:
    """Say which collections of the state of *head* are kept here."""
    profile = {} if scope.regions is None else _profile(tables, head.stream)
    return scope.wants(head.stream.member_id, head.record_count, profile)


def in_step(tables: Tables, scope: Scope, head: Head) -> bool:
    """Whether what is kept of the state of *head* is here, and nothing else of its stream."""
    if not scope.pulls(head.stream.member_id):
        return True
    held = tables.catalogue.held(head.stream)
    if held is None or held.head is None:
        return False
    if held.head != head.signed.to_bytes() and not _may_rest(scope, held, head):
        return False
    return elsewhere(held.state, wants_of(tables, scope, head)).keys() == held.elsewhere.keys()


def _may_rest(scope: Scope, held: Held, head: Head) -> bool:
    """Whether nothing but a profile is kept, and it is young enough. Not where it decides what else is kept."""
    if held.head is None or scope.regions is not None or not held.elsewhere or held.summaries.keys() - {PROFILE}:
        return False
    return head.said_ms - heads.read(held.head).said_ms < PROFILE_REST_MS


def lagging(tables: Tables, scope: Scope) -> list[Head]:
    """Return the heads of others whose state, as far as it is kept here, we do not hold."""
    found = []
    for item in tables.items.of_kind(ItemKind.HEAD):
        head = heads.read(item.data)
        if head.stream.member_id == scope.me or tables.items.in_slot(ItemKind.HEAD, head_slot(head)) != item.data:
            continue  # our own, or kept as evidence beside the one that holds
        if not in_step(tables, scope, head):
            found.append(head)
    return found


def trim(tables: Tables, scope: Scope) -> list[Dropped]:
    """Drop the records that are wanted no more; return what readers must follow."""
    dropped = []
    for held in tables.catalogue.streams(begun=True):
        if not scope.pulls(held.stream.member_id):
            if not held.collections:
                continue
            changed: Mapping[str, Changed] = tables.catalogue.drop_records(held)
        elif held.head is not None:
            changed = _trim_one(tables, held, wants_of(tables, scope, heads.read(held.head)))
            if not changed:
                continue
            tables.catalogue.set_head(held, held.head)
        else:
            continue  # what has been fetched of it waits for the rest
        dropped.append(Dropped(held.stream, changed, tables.catalogue.last_change()))
    return dropped


def _trim_one(tables: Tables, held: Held, wants: Wants) -> Mapping[str, Changed]:
    out = {name: signed for name, signed in elsewhere(held.state, wants).items() if name not in held.elsewhere}
    if out:
        # What is staged belongs to a walk that wanted more.
        tables.catalogue.unstage(held)
        tables.catalogue.drop_ops(held)
    return tables.catalogue.put_elsewhere(held, out)[1]


def _profile(tables: Tables, stream: Stream) -> Mapping[str, Any]:
    """Return what a member says of itself, as far as it is here and keeps the rules."""
    value = tables.catalogue.get(Stream(stream.member_id, STREAM_PUBLIC), PROFILE, PROFILE_KEY)
    if value is None:
        return {}
    try:
        return records.read(PROFILE, PROFILE_KEY, value)
    except Refused:
        return {}
