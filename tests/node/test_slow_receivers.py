"""Peers that take slowly, or not at all, what they have asked for: they get it all, and fill nobody's memory."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from coopnode import desk
from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip import link as links
from coopnode.gossip.link import FULL_BYTES, Link
from coopnode.world import World
from protocol.limits import MAX_REPLY_BYTES, MAX_REQUESTS_UNDER_WAY, MIB
from protocol.messages import News, Ping, Pong, Reconcile, Since, write
from tests.node.wires import Liar, Live, honest, liar, town, until

NUMBER = 2 * MAX_REQUESTS_UNDER_WAY
"""So many questions may wait for their answers."""
TEXT = "x" * 8_000


@pytest_asyncio.fixture
async def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Live, Core]]:
    """A node with more to tell than one answer holds, and the key of a member whose node is off."""
    async with town(tmp_path) as place:
        anna, bert = await place.found("anna", "bert")
        for number in range(2 * MAX_REPLY_BYTES // len(TEXT)):
            await anna.do(desk.vote_propose, title=f"{number}", text=TEXT, closes_in_ms=3_600_000)
        await until(lambda: anna.frontier() == bert.frontier(), "for all of it")
        await place.stop("bert")
        core, lock = open_core(Folder(place.path / "bert"), World(), None)
        # The peer asks as much as may wait; an honest one would ask half of it at a time.
        monkeypatch.setattr("protocol.session.MAX_REQUESTS_UNDER_WAY", NUMBER)
        yield anna, core
        core.store.close()
        lock.release()


def narrow(anna: Live) -> Link:
    """Let the system keep little of what is sent, so that the rest shows where it waits."""
    (link,) = anna.open_links()
    raw: Any = link._socket.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    return link


async def ask_and_take_nothing(peer: Liar, anna: Live, number: int) -> Link:
    link = narrow(anna)
    peer.reads.clear()
    await peer.ask(*[Since(0, bytes(8), 0, bytes(32))] * number)
    return link


async def at_once(_: Link) -> None:
    """Read the next message without waiting."""


def news(peer: Liar) -> int:
    return sum(isinstance(one, News) and len(one.statements) > 50 for one in peer.read)


async def test_what_waits_for_a_peer_that_takes_nothing_stays_bounded_and_comes_when_it_takes_it(
    hall: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, core = hall
    peaks = [0]

    def note(link: Link) -> None:
        before(link)
        peaks.append(max(peaks[-1], link.unsent_bytes))

    before = Link._note_unsent
    monkeypatch.setattr(Link, "_note_unsent", note)
    async with liar(core, anna, honest(core)) as peer:
        await until(lambda: peer.asked(Since) or peer.asked(Reconcile), "for its own question")
        link = await ask_and_take_nothing(peer, anna, NUMBER)
        await until(lambda: link.is_full, "for a full link")
        gate = anna.node.gossiper.gate
        await until(lambda: (gate._inside, gate.waiting) == (0, 0), "for those who could still have a turn")
        assert link.unsent_bytes < FULL_BYTES + 3 * MAX_REPLY_BYTES
        assert anna.node.gossiper._answering[link] > 0, "the rest has not been made yet"
        peer.reads.set()
        await until(lambda: news(peer) == NUMBER, "for all answers")
        assert peer.closed is None
    # Two answers may have been begun when the third filled the link.
    assert peaks[-1] < FULL_BYTES + 3 * MAX_REPLY_BYTES < 32 * MIB


async def test_without_the_bound_all_that_was_asked_for_waits_in_memory(
    hall: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin."""
    anna, core = hall
    monkeypatch.setattr(links, "FULL_BYTES", 10**9)
    async with liar(core, anna, honest(core)) as peer:
        await until(lambda: peer.asked(Since) or peer.asked(Reconcile), "for its own question")
        link = await ask_and_take_nothing(peer, anna, NUMBER)
        await until(lambda: link.unsent_bytes > FULL_BYTES + 3 * MAX_REPLY_BYTES, "for too much")


async def test_a_peer_that_makes_us_say_much_and_takes_nothing_is_hung_up_on(
    hall: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, core = hall
    monkeypatch.setattr(links, "CROWDED_BYTES", FULL_BYTES + 3 * MAX_REPLY_BYTES)
    async with liar(core, anna, honest(core)) as peer:
        await until(lambda: peer.asked(Since) or peer.asked(Reconcile), "for its own question")
        link = await ask_and_take_nothing(peer, anna, 4)
        # Else so many messages are read ever later, and the system may hold all that they are answered with.
        monkeypatch.setattr(link, "_pace", at_once)
        await until(lambda: link.is_full, "for a full link")
        ping = write(Ping(1))
        with contextlib.suppress(ConnectionError):  # the link may go while we are sending
            while link.is_open:
                await peer.raw(ping)
    await until(lambda: anna.refusals().get("too_many") == 1, "for the count")


async def test_pings_are_answered_as_long_as_the_peer_takes_the_answers(hall: tuple[Live, Core]) -> None:
    anna, core = hall
    async with liar(core, anna, honest(core)) as peer:
        for number in range(2_000):
            await peer.say(Ping(number))
        await until(lambda: len(peer.asked(Pong)) == 2_000, "for all")
        assert peer.closed is None
