"""Whom to be linked with, and which link to give up."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from protocol import overlay
from protocol.gossip import Standing
from protocol.limits import FULL_MESH_MEMBERS, MAX_LINKS, OWN_LINKS, ROTATE_AFTER_ITEMS, ROTATE_AFTER_MS, SAMPLED_LINKS
from protocol.overlay import LinkOf
from tests.protocol.builders import secret

OURS, THEIRS = LinkOf(ours=True), LinkOf(ours=False)


def members(number: int) -> list[bytes]:
    return [secret(one)[:20] for one in range(number)]


def backwards(candidates: Sequence[bytes]) -> list[bytes]:
    return list(candidates)[::-1]


@pytest.mark.parametrize("number", [0, 1, 2, 12])
def test_up_to_twelve_nodes_all_are_linked(number: int) -> None:
    everybody = members(number)
    me = everybody[0] if everybody else b"me"
    assert overlay.wanted_links(me, everybody, {}, backwards) == sorted(set(everybody) - {me})
    linked = dict.fromkeys(everybody[1:3], THEIRS)
    assert overlay.wanted_links(me, everybody, linked, backwards) == sorted(set(everybody[3:]) - {me})


def test_beyond_twelve_nodes_a_few_are_chosen_by_chance() -> None:
    everybody = members(13)
    me, others = everybody[0], sorted(everybody[1:])
    assert overlay.wanted_links(me, everybody, {}, backwards) == others[::-1][:OWN_LINKS]
    two = dict.fromkeys(others[:2], OURS)
    assert overlay.wanted_links(me, everybody, two, backwards) == others[::-1][: OWN_LINKS - 2]
    own = dict.fromkeys(others[:OWN_LINKS], OURS)
    assert overlay.wanted_links(me, everybody, own, backwards) == others[::-1][: SAMPLED_LINKS - OWN_LINKS]
    assert overlay.wanted_links(me, everybody, dict.fromkeys(others[:SAMPLED_LINKS], OURS), backwards) == []
    assert overlay.wanted_links(me, everybody, dict.fromkeys(others[:9], OURS), backwards) == []


def test_some_links_are_always_of_the_nodes_own_choice() -> None:
    everybody = members(40)
    me, others = everybody[0], sorted(everybody[1:])
    linked = dict.fromkeys(others[:20], THEIRS)
    assert len(overlay.wanted_links(me, everybody, linked, backwards)) == OWN_LINKS
    linked[others[0]] = OURS
    assert len(overlay.wanted_links(me, everybody, linked, backwards)) == OWN_LINKS - 1


def test_only_who_can_be_called_is_chosen() -> None:
    everybody = members(40)
    me, others = everybody[0], sorted(everybody[1:])
    few = {others[3], others[5], b"a stranger"}
    assert overlay.wanted_links(me, everybody, {}, backwards, few) == [others[5], others[3]]
    assert overlay.wanted_links(me, everybody, {others[5]: OURS}, backwards, few) == [others[3]]
    assert overlay.wanted_links(me, everybody, {}, backwards, set()) == []


def test_for_a_silent_peer_another_is_looked_for_and_it_is_not_called_again() -> None:
    everybody = members(40)
    me, others = everybody[0], sorted(everybody[1:])
    linked = dict.fromkeys(others[:SAMPLED_LINKS], OURS) | {others[0]: LinkOf(ours=True, silent=True)}
    assert overlay.wanted_links(me, everybody, linked, backwards) == [others[-1]]
    assert others[0] not in overlay.wanted_links(me, everybody, linked, lambda found: list(found))


def test_links_to_strangers_and_to_oneself_do_not_count() -> None:
    everybody = members(13)
    linked = {b"s" * 20: OURS, everybody[0]: OURS}
    assert len(overlay.wanted_links(everybody[0], everybody, linked, backwards)) == OWN_LINKS


def test_everybody_is_reached_from_everybody_over_sampled_links() -> None:
    chance = random.Random(3)

    def shuffle(candidates: Sequence[bytes]) -> list[bytes]:
        return chance.sample(list(candidates), len(candidates))

    everybody = members(200)
    links: dict[bytes, dict[bytes, LinkOf]] = {one: {} for one in everybody}
    for one in everybody:
        for other in overlay.wanted_links(one, everybody, links[one], shuffle):
            links[one][other] = OURS
            links[other].setdefault(one, THEIRS)
    reached, fresh = {everybody[0]}, [everybody[0]]
    while fresh:
        found = links[fresh.pop()].keys() - reached
        reached |= found
        fresh.extend(found)
    assert reached == set(everybody)


def test_callers_are_let_in_up_to_a_bound() -> None:
    assert overlay.has_room(1000, MAX_LINKS - 1)
    assert not overlay.has_room(1000, MAX_LINKS)
    assert overlay.has_room(FULL_MESH_MEMBERS, MAX_LINKS)  # all of them must find each other


LONG = Standing(0, eager=True, news=ROTATE_AFTER_ITEMS, told=0)


@pytest.mark.parametrize(
    ("standing", "link", "now_ms", "given_up"),
    [
        (LONG, OURS, ROTATE_AFTER_MS, True),
        (LONG, THEIRS, ROTATE_AFTER_MS, False),
        (LONG, None, ROTATE_AFTER_MS, False),
        (LONG, OURS, ROTATE_AFTER_MS - 1, False),
        (Standing(0, eager=True, news=ROTATE_AFTER_ITEMS - 1, told=0), OURS, ROTATE_AFTER_MS, False),
        (Standing(0, eager=False, news=10**6, told=1), OURS, 10 * ROTATE_AFTER_MS, False),
    ],
)
def test_who_tells_nothing_is_given_up(standing: Standing, link: LinkOf | None, now_ms: int, given_up: bool) -> None:
    peer = members(1)[0]
    linked = {} if link is None else {peer: link}
    assert overlay.to_rotate({peer: standing}, linked, now_ms) == (peer if given_up else None)


def test_one_is_given_up_at_a_time() -> None:
    peers = sorted(members(3))
    found = overlay.to_rotate(dict.fromkeys(peers, LONG), dict.fromkeys(peers, OURS), ROTATE_AFTER_MS)
    assert found == peers[0]
