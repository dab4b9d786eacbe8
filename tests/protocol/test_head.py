"""Heads, and when one may replace another."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import head, signing
from protocol.encoding import encode
from protocol.errors import LocalError, Reason
from protocol.head import Head, Stream, Version
from tests.protocol.builders import COOP, OTHER_COOP, Catalogue, Scenario, listings, member, refused

AUTHOR = member(1)
CATALOGUE = Catalogue({"listing": listings(20)})
GOOD = CATALOGUE.head(AUTHOR)


def row(**changes: Any) -> bytes:
    """Encode a head's list with some items changed, by their place's name."""
    own = {
        "v": 1,
        "member": AUTHOR.member_id,
        "stream": 0,
        "epoch": 0,
        "rev": 9,
        "instance": bytes(8),
        "prev": bytes(32),
        "state_root": bytes(32),
        "records": 0,
        "bytes": 0,
        "since_rev": 0,
        "ops_root": bytes(32),
        "ops_count": 0,
        "ops_bytes": 0,
        "flags": 0,
        **changes,
    }
    return encode(list(own.values()))


def read(body: bytes) -> Head:
    return head.read(signing.sign(head.WHAT, COOP, body, AUTHOR.seed).to_bytes())


def test_a_head_is_read_as_it_was_written() -> None:
    again = head.read(GOOD.signed.to_bytes())
    assert again == GOOD
    assert again.stream == Stream(AUTHOR.member_id, 0)
    assert again.version == Version(0, 1_000_000)
    assert again.said_ms == 1000
    assert (again.record_count, again.state_root) == (20, CATALOGUE.state_root)
    head.verify(again, COOP, AUTHOR.identity)
    assert len(GOOD.signed.to_bytes()) <= 320


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 0}, Reason.WRONG_VERSION),
        ({"v": 2}, Reason.WRONG_VERSION),
        ({"v": -1}, Reason.WRONG_VERSION),
        ({"v": 300}, Reason.WRONG_VERSION),
        ({"v": True}, Reason.WRONG_SHAPE),
        ({"member": bytes(19)}, Reason.WRONG_SHAPE),
        ({"stream": 16}, Reason.OUT_OF_RANGE),
        ({"epoch": 2**48 + 1}, Reason.OUT_OF_RANGE),
        ({"rev": -1}, Reason.OUT_OF_RANGE),
        ({"rev": 0}, Reason.OUT_OF_RANGE),
        ({"flags": 1}, Reason.OUT_OF_RANGE),
        ({"ops_count": 1001, "since_rev": 1}, Reason.OUT_OF_RANGE),
        ({"ops_bytes": 2**20 + 1}, Reason.OUT_OF_RANGE),
        ({"ops_count": 1}, Reason.OUT_OF_RANGE),
        ({"since_rev": 1}, Reason.OUT_OF_RANGE),
        ({"since_rev": 9, "ops_count": 1}, Reason.OUT_OF_RANGE),
        ({"ops_root": b"\1" * 32}, Reason.OUT_OF_RANGE),
        ({"ops_bytes": 1}, Reason.OUT_OF_RANGE),
        ({"extra": 0}, Reason.WRONG_SHAPE),
    ],
)
def test_a_head_that_breaks_a_rule_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with refused(reason):
        read(row(**changes))


@pytest.mark.parametrize("changes", [{}, {"since_rev": 8, "ops_count": 1000, "ops_bytes": 2**20}, {"stream": 15}])
def test_its_lawful_neighbours_are_read(changes: dict[str, Any]) -> None:
    assert read(row(**changes)).version.rev == 9


@pytest.mark.parametrize("body", [encode([]), encode({}), encode(1), encode(["1"])])
def test_what_is_no_list_of_a_head_is_refused(body: bytes) -> None:
    with refused(Reason.WRONG_SHAPE):
        read(body)


def test_a_head_too_large_is_refused_before_it_is_decoded() -> None:
    with refused(Reason.TOO_LARGE):
        head.read(bytes(64 + 513))


def test_a_head_of_another_author_or_coop_is_a_bad_signature() -> None:
    with refused(Reason.BAD_SIGNATURE):
        head.verify(GOOD, COOP, member(2).identity)
    with refused(Reason.BAD_SIGNATURE):
        head.verify(GOOD, OTHER_COOP, AUTHOR.identity)


def test_a_head_needs_the_key_of_its_epoch() -> None:
    scenario = Scenario("A1 -> A2(e5)")
    identity = scenario.fold()

    def signed_by(name: str, epoch: int) -> Head:
        body = row(member=identity.member_id, epoch=epoch)
        return head.read(signing.sign(head.WHAT, COOP, body, scenario.seed(name)).to_bytes())

    head.verify(signed_by("A1", 4), COOP, identity)
    head.verify(signed_by("A2", 5), COOP, identity)
    with refused(Reason.BAD_SIGNATURE):
        head.verify(signed_by("A1", 5), COOP, identity)


def at(epoch: int, rev: int, state: int = 0) -> Head:
    return read(row(epoch=epoch, rev=rev, records=state))


@pytest.mark.parametrize(("new", "current"), [((0, 2), (0, 1)), ((1, 1), (0, 99))])
def test_the_highest_epoch_and_then_rev_wins(new: tuple[int, int], current: tuple[int, int]) -> None:
    head.check_replaces(at(*new), at(*current))
    with refused(Reason.STALE):
        head.check_replaces(at(*current), at(*new))


def test_the_first_head_of_a_stream_needs_no_other() -> None:
    head.check_replaces(at(0, 1), None)


def test_the_same_head_again_is_stale_and_no_equivocation() -> None:
    with refused(Reason.STALE):
        head.check_replaces(at(0, 1), at(0, 1))


def test_two_heads_of_one_version_are_equivocation_and_the_lower_id_holds() -> None:
    low, high = sorted([at(0, 1, 1), at(0, 1, 2)], key=lambda one: one.head_id)
    for new, current in ((low, high), (high, low)):
        with refused(Reason.EQUIVOCATION):
            head.check_replaces(new, current)
    assert head.wins_tie(low, high)
    assert not head.wins_tie(high, low)
    assert not head.wins_tie(low, low)
    # Nothing but the same version is a tie.
    assert not head.wins_tie(at(0, 1), at(0, 2))


def test_a_later_head_heals_an_equivocation() -> None:
    head.check_replaces(at(0, 2), at(0, 1, 1))
    head.check_replaces(at(0, 2), at(0, 1, 2))


FIVE_MINUTES_MS = 300_000


def test_a_head_may_be_five_minutes_ahead_and_no_more() -> None:
    now_ms = 1_000_000
    head.check_not_future(at(0, (now_ms + FIVE_MINUTES_MS) * 1000 + 999), now_ms)
    with refused(Reason.FUTURE):
        head.check_not_future(at(0, (now_ms + FIVE_MINUTES_MS + 1) * 1000), now_ms)


@pytest.mark.parametrize(
    ("current", "epoch", "now_us", "expected"),
    [
        (None, 0, 50, Version(0, 50)),
        (None, 0, 0, Version(0, 1)),
        (Version(0, 50), 0, 60, Version(0, 60)),
        (Version(0, 50), 0, 50, Version(0, 51)),
        (Version(0, 50), 0, 10, Version(0, 51)),
        (Version(0, 50), 1, 10, Version(1, 10)),
        (Version(3, 50), 1, 60, Version(3, 60)),
    ],
)
def test_the_next_version_is_now_but_never_at_or_below_the_last(
    current: Version | None, epoch: int, now_us: int, expected: Version
) -> None:
    assert head.next_version(current, epoch, now_us) == expected
    assert current is None or head.next_version(current, epoch, now_us) > current


def test_a_head_that_cannot_be_encoded_is_our_own_mistake() -> None:
    with pytest.raises(LocalError):
        CATALOGUE.head(AUTHOR, rev=2**64)
