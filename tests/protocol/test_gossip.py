"""Who hears of what, and whom to link with."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from protocol import gossip
from protocol.gossip import Broadcast, Item, ItemKind
from protocol.limits import MAX_ITEMS, MAX_MESSAGE_BYTES, MAX_REPLY_BYTES
from protocol.messages import Put, read, write
from tests.protocol.builders import secret


def item(number: int, data: bytes | None = None, kind: ItemKind = ItemKind.HEAD) -> Item:
    return Item(kind, b"slot %d" % number, data if data is not None else b"%065d" % number)


def broadcast(*links: str) -> Broadcast[str]:
    one: Broadcast[str] = Broadcast()
    for link in links:
        one.add(link)
    return one


def test_news_goes_to_all_links_but_the_one_it_came_from() -> None:
    one = broadcast("a", "b", "c")
    assert one.offer(item(1), "b") == ["a", "c"]
    assert [one.waiting(link) for link in "abc"] == [1, 0, 1]
    assert one.take("b") is None
    assert one.take("a") == one.take("c") == Put([item(1).data], [], [])


def test_our_own_news_goes_to_all_links() -> None:
    assert broadcast("a", "b").offer(item(1), None) == ["a", "b"]
    assert broadcast("a", "b").targets(None) == ["a", "b"]


def test_only_links_with_nothing_waiting_are_woken() -> None:
    one = broadcast("a", "b")
    one.offer(item(1), None)
    one.take("b")
    assert one.offer(item(2), None) == ["b"]


def test_newer_replaces_older_in_its_place_in_the_line() -> None:
    one = broadcast("a")
    for number in (1, 2, 3):
        one.offer(item(number), None)
    one.offer(item(1, b"newer"), None)
    assert one.waiting("a") == 3
    assert one.take("a") == Put([b"newer", item(2).data, item(3).data], [], [])
    assert one.take("a") is None


def test_a_busy_stream_costs_a_slow_peer_one_place() -> None:
    one = broadcast("slow")
    for number in range(5000):
        one.offer(item(7, b"%065d" % number), None)
    assert one.waiting("slow") == 1
    assert one.take("slow") == Put([b"%065d" % 4999], [], [])


def test_kinds_do_not_replace_each_other_and_travel_in_their_own_lists() -> None:
    one = broadcast("a")
    for kind in ItemKind:
        one.offer(item(1, kind.value.encode(), kind), None)
    assert one.take("a") == Put([b"heads"], [b"statements"], [b"identities"])


def test_a_full_queue_forgets_its_oldest_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "MAX_QUEUED_ITEMS", 3)
    one = broadcast("a")
    for number in range(5):
        one.offer(item(number), None)
    assert one.waiting("a") == 3
    assert one.take("a") == Put([item(number).data for number in (2, 3, 4)], [], [])


@pytest.mark.parametrize("size", [65, 500, 16_000])
def test_a_long_queue_is_cut_into_messages_that_the_peer_accepts(size: int) -> None:
    one = broadcast("a")
    for number in range(2500):
        one.offer(item(number, b"%0*d" % (size, number), ItemKind.STATEMENT), None)
    heard: list[bytes] = []
    while (put := one.take("a")) is not None:
        assert len(put.statements) <= MAX_ITEMS
        assert sum(map(len, put.statements)) < MAX_REPLY_BYTES + size
        assert len(write(put)) <= MAX_MESSAGE_BYTES
        assert read(write(put)) == put
        heard.extend(put.statements)
    assert heard == [b"%0*d" % (size, number) for number in range(2500)]


def test_a_link_that_is_gone_has_no_queue() -> None:
    one = broadcast("a", "b")
    one.offer(item(1), None)
    one.drop("a")
    one.drop("a")
    assert one.waiting("a") == 0
    assert one.take("a") is None
    assert one.offer(item(2), None) == []
    one.add("a")
    assert one.take("a") is None


def test_a_broadcast_knows_its_links() -> None:
    one = broadcast("a")
    assert "a" in one
    assert "b" not in one
    one.drop("a")
    assert "a" not in one


def test_adding_a_link_again_keeps_its_queue() -> None:
    one = broadcast("a")
    one.offer(item(1), None)
    one.add("a")
    assert one.waiting("a") == 1


def members(number: int) -> list[bytes]:
    return [secret(one)[:20] for one in range(number)]


def backwards(candidates: Sequence[bytes]) -> list[bytes]:
    return list(candidates)[::-1]


@pytest.mark.parametrize("number", [0, 1, 2, 12])
def test_up_to_twelve_nodes_all_are_linked(number: int) -> None:
    everybody = members(number)
    me = everybody[0] if everybody else b"me"
    assert gossip.wanted_links(me, everybody, [], backwards) == sorted(set(everybody) - {me})
    assert gossip.wanted_links(me, everybody, everybody[1:3], backwards) == sorted(set(everybody[3:]) - {me})


def test_beyond_twelve_nodes_six_are_chosen_by_chance() -> None:
    everybody = members(13)
    me, others = everybody[0], sorted(everybody[1:])
    assert gossip.wanted_links(me, everybody, [], backwards) == others[::-1][:6]
    assert gossip.wanted_links(me, everybody, others[:2], backwards) == others[:1:-1][:4]
    assert gossip.wanted_links(me, everybody, others[:6], backwards) == []
    assert gossip.wanted_links(me, everybody, others[:9], backwards) == []


def test_links_to_strangers_and_to_oneself_do_not_count() -> None:
    everybody = members(13)
    strangers = [b"s" * 20, everybody[0]]
    assert len(gossip.wanted_links(everybody[0], everybody, strangers, backwards)) == 6


def test_everybody_is_reached_from_everybody_over_sampled_links() -> None:
    chance = random.Random(3)

    def shuffle(candidates: Sequence[bytes]) -> list[bytes]:
        return chance.sample(list(candidates), len(candidates))

    everybody = members(200)
    links: dict[bytes, set[bytes]] = {one: set() for one in everybody}
    for one in everybody:
        for other in gossip.wanted_links(one, everybody, links[one], shuffle):
            links[one].add(other)
            links[other].add(one)
    reached, fresh = {everybody[0]}, [everybody[0]]
    while fresh:
        found = links[fresh.pop()] - reached
        reached |= found
        fresh.extend(found)
    assert reached == set(everybody)
