"""Whom to be linked with: everybody while they are few, else members chosen by chance.

Pure. The roster is known, so there is nothing to discover and nobody to believe: chance is the node's own, and
some links at least are always of its own choosing, so that nobody can arrange to be all that it sees.
Specification, section 9.5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.gossip import Standing
from protocol.limits import (
    FULL_MESH_MEMBERS,
    MAX_LINKS,
    OWN_LINKS,
    ROTATE_AFTER_ITEMS,
    ROTATE_AFTER_MS,
    SAMPLED_LINKS,
)

Shuffle = Callable[[Sequence[bytes]], list[bytes]]
"""The caller's chance: returns all that it is given, in random order."""


@dataclass(frozen=True, slots=True)
class LinkOf:
    """What counts of a link: whether this node has called, and whether its peer has fallen silent."""

    ours: bool
    silent: bool = False


def is_full_mesh(members: int) -> bool:
    """Whether so many members, with oneself, are all linked with each other."""
    return members <= FULL_MESH_MEMBERS


def wanted_links(
    me: bytes,
    members: Iterable[bytes],
    linked: Mapping[bytes, LinkOf],
    shuffle: Shuffle,
    reachable: Collection[bytes] | None = None,
) -> list[bytes]:
    """Return the members to call now; of *reachable* ones, where that is known. Spec 9.5."""
    others = set(members) - {me}
    have = [link for peer, link in linked.items() if peer in others]
    if is_full_mesh(len(others) + 1):
        return sorted(others - linked.keys())
    # A silent peer keeps its link, for it may only be slow, but another is looked for.
    alive = [link for link in have if not link.silent]
    # The own ones first: with those that others choose they are mostly enough.
    missing = OWN_LINKS - sum(link.ours for link in alive)
    count = missing if missing > 0 else max(0, SAMPLED_LINKS - len(alive))
    if not count:
        return []
    # Chance among those who can be called: where few can, it would mostly choose in vain.
    candidates = others if reachable is None else others.intersection(reachable)
    return shuffle(sorted(candidates - linked.keys()))[:count]


def has_room(members: int, links: int) -> bool:
    """Whether one more caller may be let in by a node that has *links* links in a co-op of *members*."""
    return is_full_mesh(members) or links < MAX_LINKS


def has_had_its_chance(standing: Standing, now_ms: int) -> bool:
    """Whether so much has come here in so long that a link must have told of some of it."""
    return standing.news >= ROTATE_AFTER_ITEMS and now_ms - standing.since_ms >= ROTATE_AFTER_MS


def to_rotate(standings: Mapping[bytes, Standing], linked: Mapping[bytes, LinkOf], now_ms: int) -> bytes | None:
    """Return the peer whose link to give up because it tells us nothing of what we hear elsewhere, or None.

    Only links of our own choice, and one at a time: another takes its place. An honest peer that hears everything
    from us has nothing to tell either; it loses a link and finds another.
    """
    for peer, standing in sorted(standings.items()):
        link = linked.get(peer)
        if link is not None and link.ours and not standing.told and has_had_its_chance(standing, now_ms):
            return peer
    return None
