"""What an owner is told of the own node: whether its words leave it, what it should mend, what is kept here.

Read only. Each answer is a sentence, or plain JSON ready for `desk`; nothing is decided here.
"""

from __future__ import annotations

from coopnode.catalog.shelf import Json, Shelf
from coopnode.core import Core
from coopnode.publisher import Phase
from coopnode.store import Tables
from protocol import head as heads
from protocol.head import Head
from protocol.pull import author_fault
from protocol.quota import Quota


def publication(tables: Tables, core: Core) -> Json:
    """Say whether own words leave this node now, and if not, why."""
    phase = core.publisher.phase
    why = core.publisher.why
    if core.membership is None:
        why = "this node belongs to no co-op yet"
    elif not core.is_member:
        why = "this node has not been admitted yet"
    elif phase is Phase.WAITING:
        needed = core.publisher.needed(tables, core.membership)
        why = f"{core.publisher.answers} of {needed} members have answered since the start"
    elif phase is Phase.BEHIND:
        why = "a later state of this member was found at another node and is being taken back"
    elif core.publish_due_ms is not None:
        wait_s = -(-(core.publish_due_ms - core.world.steady_ms()) // 1000)
        rule = quota_rule(core.quota(core.member_id), core.over)
        why = f"your co-op's rule allows {rule}; the rest follows in {max(wait_s, 1)} s"
    return {"publishing": phase.value, "why": why, "waiting": tables.pending.count()}


def replica(core: Core, members: list[Json]) -> Json:
    """Say how much of others' catalogues is kept here, by the settings and in fact."""
    others = [one for one in members if one["member"] != core.member_id.hex()]
    own = core.config
    return {
        "kind": core.scope.replica.value,
        "members": list(own.replica_members),
        "regions": list(own.replica_regions),
        "collections": list(own.replica_collections),
        "max_records": own.replica_max_records,
        "problems": list(core.scoping.problems),
        "whole": sum(one["complete"] for one in others),
        "others": len(others),
        "records": sum(one["records"] for one in others),
        "signed_records": sum(one["signed_records"] or 0 for one in others),
        "bytes": sum(path.stat().st_size for path in core.folder.path.glob(core.folder.database.name + "*")),
    }


def own_notes(core: Core, own: Head | None) -> list[str]:
    """Return what the owner should know and mend."""
    if own is None or core.membership is None:
        return []
    quota = core.quota(core.member_id)
    if quota.fits(own):
        return []
    return [f"Your catalogue has {too_large(own, quota)}: the other members do not fetch it."]


def faults(tables: Tables, shelf: Shelf) -> list[Json]:
    """Say which authors have signed what contradicts itself: nobody else is to blame, and only they can mend it."""
    found = []
    for stream, head, count, size, desync in tables.catalogue.sums():
        why = desync or author_fault(heads.read(head), count, size)
        if why is not None:
            found.append({"member": stream.member_id.hex(), "name": shelf.name(stream.member_id), "why": why})
    return found


def quota_rule(quota: Quota, bucket: str) -> str:
    """Say what a quota allows of one thing; *bucket* is a field of `Cost`."""
    return {
        "heads": f"{quota.heads_a_minute:,} publications a minute",
        "statements": f"{quota.statements_a_minute:,} statements a minute",
        "ops": f"{quota.ops_a_minute:,} changed records a minute",
        "bytes": f"{quota.bytes_a_minute:,} bytes a minute",
    }[bucket]


def too_large(head: Head, quota: Quota) -> str:
    """Say by what a catalogue is larger than its co-op's rule allows."""
    return (
        f"{head.record_count:,} records and {head.record_bytes:,} bytes, more than the {quota.records:,} records or "
        f"{quota.bytes:,} bytes that your co-op's rule allows"
    )
