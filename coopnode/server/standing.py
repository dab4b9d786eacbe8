"""Who is slowed down and who is not linked to for now, in plain words: for the owner and for anybody who asks.

Never decides either: the node's throttle and its memory of forgers do. The picture is taken on the event loop,
where both live; names are added on a reader's thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coopnode import notes
from coopnode.catalog.shelf import Json, Shelf
from coopnode.gossip.forgers import Dropped
from coopnode.gossip.throttle import Waiting
from coopnode.node import Node
from protocol.head import Head


@dataclass(frozen=True, slots=True)
class Picture:
    """How things stand at one moment."""

    waiting: list[Waiting]
    too_large: list[Head]
    dropped: list[tuple[bytes, Dropped]]
    now_ms: int
    """By the clock of people."""
    steady_ms: int

    @property
    def mark(self) -> str:
        """Changes when somebody is slowed or dropped, or no longer: a part of the tag of an answer."""
        said = [
            *((one.author, one.what) for one in self.waiting),
            *((head.stream.member_id, "catalogue") for head in self.too_large),
            *((member_id, one.why) for member_id, one in self.dropped),
        ]
        return hashlib.sha256(repr(sorted(said)).encode()).hexdigest()[:8]


def picture(node: Node) -> Picture:
    """Take the picture. Call on the event loop."""
    world = node.core.world
    return Picture(
        node.throttle.waiting(),
        list(node.throttle.too_large.values()),
        list(node.forgers.resting().items()),
        world.now_ms(),
        world.steady_ms(),
    )


def tell(taken: Picture, node: Node, shelf: Shelf) -> Json:
    """Return what an answer says of it."""
    return {
        "throttled": [
            *(_waiting(taken, one, node, shelf) for one in taken.waiting),
            *(_too_large(head, node, shelf) for head in taken.too_large),
        ],
        "dropped": [_dropped(taken, member_id, one, shelf) for member_id, one in taken.dropped],
    }


def _waiting(taken: Picture, one: Waiting, node: Node, shelf: Shelf) -> Json:
    name = shelf.name(one.author) if one.author else "Applicants"
    quota = node.core.quota(one.author)
    if one.what == "heads":
        rule = notes.quota_rule(quota, "heads")
        text = (
            f"{name} publishes more than your co-op's rule allows ({rule}, {notes.quota_rule(quota, 'ops')}, "
            f"{notes.quota_rule(quota, 'bytes')}): its latest word is taken in {_seconds(one.wait_ms)} s."
        )
    else:
        rule = notes.quota_rule(quota, "statements")
        text = f"{name} has said more than your co-op's rule allows ({rule}): {one.count} wait to be passed on."
    return {
        "member": one.author.hex() or None,
        "name": name,
        "what": one.what,
        "until_ms": taken.now_ms + one.wait_ms,
        "text": text,
    }


def _too_large(head: Head, node: Node, shelf: Shelf) -> Json:
    member_id = head.stream.member_id
    name = shelf.name(member_id)
    rule = notes.too_large(head, node.core.quota(member_id))
    return {
        "member": member_id.hex(),
        "name": name,
        "what": "catalogue",
        "until_ms": None,
        "text": f"The catalogue of {name} has {rule}: it is not fetched, and the last one that was fetched is shown.",
    }


def _dropped(taken: Picture, member_id: bytes, one: Dropped, shelf: Shelf) -> Json:
    name = shelf.name(member_id)
    left_ms = max(0, one.until_ms - taken.steady_ms)
    minutes = -(-left_ms // 60_000)
    return {
        "member": member_id.hex(),
        "name": name,
        "why": one.why,
        "until_ms": taken.now_ms + left_ms,
        "text": f"The node of {name} is not linked to for another {minutes} min: {one.why}.",
    }


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))
