"""One websocket to one peer: drives a `protocol.session.Session` over the network.

Never judges what comes in: it hands events to its owner. The thing to understand: there is one writer
task, so messages leave in order, and a slow peer holds up only its own link.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
from aiohttp import web

from coopnode.world import World
from protocol.errors import Reason
from protocol.limits import MAX_MESSAGE_BYTES, MAX_RETRY_MS, MIB
from protocol.messages import Answer, Message, Question
from protocol.scope import Replica
from protocol.session import (
    MESSAGE_BYTES,
    Answered,
    Closed,
    Event,
    Me,
    Opened,
    Received,
    Role,
    Session,
    Silent,
    State,
    Unanswered,
)

log = logging.getLogger(__name__)
Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse
AnswerT = TypeVar("AnswerT", bound=Answer)
SEND_SECONDS = 30.0
"""A peer that takes nothing for so long is given up."""
FULL_BYTES = 1 * MIB
"""A link on which so much waits to be sent is full: no further answer is made for it before it has drained."""
CROWDED_BYTES = 16 * MIB
"""A link on which so much waits is closed. `FULL_BYTES` keeps an honest peer far below it."""
PATIENT_TRIES = 6
"""How often a peer that says it is busy is asked the same again."""


class NoAnswer(Exception):
    """The answer to a question will not come: the link closed, time ran out or the peer is busy."""


class PeerBusy(NoAnswer):
    """The peer has too much to do. It is not asked again before *retry_ms* have passed."""

    def __init__(self, retry_ms: int) -> None:
        super().__init__(f"the peer is busy for {retry_ms} ms")
        self.retry_ms = retry_ms


class Link:
    """A link and its session. `run` lasts as long as the link."""

    def __init__(
        self,
        socket: Socket,
        session: Session,
        world: World,
        *,
        url: str | None,
        visit: bool = False,
        on_event: Callable[[Link, Opened | Received | Silent | Closed], Awaitable[None]],
        next_message: Callable[[Link], Message | None],
        pace: Callable[[Link], Awaitable[None]],
    ) -> None:
        self.session = session
        self.url = url
        """Where we have called; None when the peer has called."""
        self.visit = visit
        """Whether the link is ours for one exchange only."""
        self.asked_ms = world.steady_ms()
        """When the peer has asked something last."""
        self.peer: bytes | None = None
        self.instance: bytes | None = None
        self.store_nonce: bytes | None = None
        """Of the peer's store, as its latest status says."""
        self.replica = Replica.FULL
        """How much of others' catalogues the peer keeps, as its latest status says."""
        self.opened_ms = 0
        self.judged = asyncio.Event()
        """Set when the peer has been found to be a member and hears of news."""
        self.busy_until_ms = 0
        """Steady time before which the peer does not want to be asked."""
        self.bytes_in = 0
        self.bytes_out = 0
        self._writing_bytes = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._socket = socket
        self._world = world
        self._on_event = on_event
        self._next_message = next_message
        self._pace = pace
        self._wake = asyncio.Event()
        self._rush = asyncio.Event()
        self._until_ms = 0
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._closing: list[Event] = []

    def __repr__(self) -> str:
        """Name the peer for logs."""
        return f"<link to {'?' if self.peer is None else self.peer.hex()[:8]} {self.session.state.name}>"

    @property
    def is_open(self) -> bool:
        """Whether both sides have proved who they are and the link stands."""
        return self.session.state is State.OPEN

    def idle_seconds(self) -> float:
        """For how long the peer has asked nothing."""
        return (self._world.steady_ms() - self.asked_ms) / 1000

    def wake(self) -> None:
        """There is something to send, and maybe something to wait for."""
        self._wake.set()
        deadline_ms = self.session.next_deadline()
        if deadline_ms is not None and deadline_ms < self._until_ms:
            self._rush.set()

    def send(self, message: Message) -> None:
        """Send a message if the link still stands."""
        if self.is_open:
            self.session.send(message)
            self._note_unsent()
            self.wake()

    @property
    def unsent_bytes(self) -> int:
        """How much waits here for the peer to take it."""
        return self.session.unsent_bytes + self._writing_bytes

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the peer that nothing big should be made for it now."""
        return not self._drained.is_set()

    async def drained(self) -> None:
        """Wait until the peer has taken most of what waits for it, or the link has closed.

        Whoever makes something big for a peer waits here first: a peer that reads slowly, or not at all, must not
        fill this node's memory.
        """
        await self._drained.wait()

    def probe(self) -> None:
        """Ask the peer at once whether it is there."""
        self.session.probe(self._world.steady_ms())
        self.wake()

    async def ask(self, question: Question, kind: type[AnswerT]) -> AnswerT:
        """Ask and wait for the answer. Raises NoAnswer when it will not come, PeerBusy when it might later."""
        if not self.is_open:
            raise NoAnswer("the link is closed")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        request = self.session.ask(question, self._world.steady_ms())
        self._answers[request] = future
        self.wake()
        try:
            answer = await future
        finally:
            self._answers.pop(request, None)
        if not isinstance(answer, kind):  # the session has checked it: ANSWER_TO
            raise NoAnswer("an answer of another kind came")
        return answer

    async def ask_patiently(self, question: Question, kind: type[AnswerT]) -> AnswerT:
        """Ask; where the peer is busy, ask again when it says, a few times. Raises NoAnswer when that does not help."""
        for _ in range(PATIENT_TRIES):
            await self._until_free()
            try:
                return await self.ask(question, kind)
            except PeerBusy as busy:
                log.debug("%r: %s", self, busy)
        raise NoAnswer("the peer is busy all the time")

    def close(self, reason: Reason | None = None, detail: str = "") -> None:
        """End the session; `run` ends soon after."""
        self._closing.extend(self.session.close(reason, detail))
        self._note_unsent()
        self.wake()

    async def run(self) -> None:
        """Carry messages both ways until the link ends."""
        writer = asyncio.create_task(self._write())
        timer = asyncio.create_task(self._tick())
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    await self._handle(self.session.close(Reason.MALFORMED, "only binary messages are allowed"))
                    break
                self.bytes_in += len(message.data)
                await self._handle(self.session.receive(message.data, self._world.steady_ms()))
                if self.unsent_bytes > CROWDED_BYTES:
                    # Asked for by many small messages, such as pings, from somebody who takes no answers.
                    await self._handle(self.session.close(Reason.TOO_MANY, "too much waits to be taken"))
                self.wake()
                if self.session.state is State.CLOSED:
                    break
                await self._pace(self)  # whoever sends too much is read later
        except (ConnectionError, aiohttp.ClientError, TimeoutError) as error:
            log.debug("%r broke: %s", self, error)
        finally:
            timer.cancel()
            await self._handle([*self._closing, *self.session.lost()])
            self._note_unsent()
            self.wake()
            await asyncio.wait([writer], timeout=2)
            writer.cancel()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    async def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Answered():
                    future = self._answers.get(event.question.request)
                    if future is not None and not future.done():
                        future.set_result(event.answer)
                case Unanswered():
                    future = self._answers.get(event.question.request)
                    busy = PeerBusy(event.retry_ms) if event.retry_ms else None
                    if busy is not None:
                        self.busy_until_ms = max(self.busy_until_ms, self._world.steady_ms() + event.retry_ms)
                    if future is not None and not future.done():
                        future.set_exception(busy or NoAnswer("the peer did not answer"))
                case _:
                    await self._on_event(self, event)

    async def _write(self) -> None:
        """Write until the session is closed; then close the socket, which ends the reader too."""
        try:
            while True:
                self._wake.clear()  # before looking: what comes while we send wakes us again
                # Until nothing is left: a goodbye may have been queued while we were sending.
                while batch := self.session.data_to_send():
                    self._writing_bytes = sum(len(data) + MESSAGE_BYTES for data in batch)
                    for data in batch:
                        self.bytes_out += len(data)
                        async with asyncio.timeout(SEND_SECONDS):
                            await self._socket.send_bytes(data)
                        self._writing_bytes -= len(data) + MESSAGE_BYTES
                        self._note_unsent()
                if self.session.state is State.CLOSED:
                    return
                news = self._next_message(self) if self.is_open else None
                if news is not None:
                    self.session.send(news)
                    self._wake.set()
                await self._wake.wait()
        except (ConnectionError, aiohttp.ClientError, TimeoutError) as error:
            log.debug("%r takes nothing any more: %s", self, error)
        finally:
            self._drained.set()
            await self._socket.close()

    def _note_unsent(self) -> None:
        """Let those go on, or wait, who want to send something big."""
        if self.unsent_bytes >= FULL_BYTES and self.is_open:
            self._drained.clear()
        else:
            self._drained.set()

    async def _until_free(self) -> None:
        """Wait as long as the peer has said that it is busy; should it say so again meanwhile, not longer."""
        wait_ms = self.busy_until_ms - self._world.steady_ms()
        if wait_ms > 0:
            await asyncio.sleep(min(wait_ms, MAX_RETRY_MS) / 1000)

    async def _tick(self) -> None:
        while (deadline_ms := self.session.next_deadline()) is not None:
            self._rush.clear()
            self._until_ms = deadline_ms
            wait_seconds = max(0.02, (deadline_ms - self._world.steady_ms()) / 1000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._rush.wait()
            await self._handle(self.session.tick(self._world.steady_ms()))
            self._wake.set()


def open_session(me: Me, role: Role, world: World) -> Session:
    """Begin a session with a fresh challenge."""
    return Session(me, role, world.random_bytes(32), world.steady_ms())


async def dial(client: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """Open the websocket of the node at *url*. Raises aiohttp.ClientError, OSError or TimeoutError."""
    return await client.ws_connect(
        url.rstrip("/") + "/gossip/v1",
        max_msg_size=MAX_MESSAGE_BYTES + 1024,
        compress=0,  # bodies are deflated already
        timeout=aiohttp.ClientWSTimeout(ws_close=2),
    )
