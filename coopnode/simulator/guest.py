"""A guest at a simulated node: one connection on which anything can be said, right or wrong, and all is noted.

It holds one end of a wire as a node does, and nothing else: no store, no timers, no wish to be liked. The thing to
understand: with a session it answers pings and shakes hands by the rules; without one it sends the bytes it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from coopnode.simulator.network import End, Network
from coopnode.simulator.scheduler import MS
from protocol import messages
from protocol.messages import Bye, Message, Put, Question, Status
from protocol.session import Opened, Session, State

MessageT = TypeVar("MessageT")


class Guest:
    """One caller from outside. *begin* says what it does when the connection stands."""

    honest = False
    refuses = False
    life = 0

    def __init__(self, number: int, network: Network, session: Session | None, status: Status) -> None:
        self.number = number
        self.up = True
        self.mute = False
        """Whether it says nothing more of itself: no proofs, no echoes."""
        self.session = session
        self.heard: list[tuple[int, Message]] = []
        """All that was said to it, with the moment in microseconds."""
        self.sent: list[bytes] = []
        self.on_heard: Callable[[Guest, Message], None] = lambda _guest, _message: None
        self.is_over = False
        self._network = network
        self._status = status
        self._end: End | None = None

    # ── what the network tells ────────────────────────────────────────────────────────────────────

    def connected(self, end: End) -> None:
        """The connection stands."""
        self._end = end
        self._flush()

    def receive(self, end: End, batch: list[bytes]) -> None:
        """Note what has arrived; let the session do its part."""
        for data in batch:
            message = messages.read(data)
            self.heard.append((self._network.scheduler.now_us, message))
            if self.session is not None and not self.mute:
                for event in self.session.receive(data, self._network.scheduler.now_us // MS):
                    if isinstance(event, Opened):
                        self.session.send(self._status)
                self._flush()
            self.on_heard(self, message)

    def disconnected(self, end: End) -> None:
        """Note that the host has hung up."""
        self.is_over = True

    def room(self, end: End) -> None:
        """Nothing waits here."""

    # ── what it says ──────────────────────────────────────────────────────────────────────────────

    def say(self, *said: Message) -> None:
        """Say something, whether or not it is our turn."""
        self.send(*map(messages.write, said))

    def send(self, *batch: bytes) -> None:
        """Send bytes as they are."""
        if self._end is not None and not self._end.closed:
            self.sent.extend(batch)
            self._network.send(self._end, list(batch))

    def leave(self) -> None:
        """Hang up."""
        if self._end is not None:
            self._network.close(self._end)

    def _flush(self) -> None:
        if self.session is not None and not self.mute:
            batch = self.session.data_to_send()
            if batch:
                self.send(*batch)

    # ── what it has heard ─────────────────────────────────────────────────────────────────────────

    @property
    def is_in(self) -> bool:
        """Whether the host has let it in and has not hung up: it has told where it stands."""
        return not self.is_over and any(isinstance(one, Status) for _, one in self.heard)

    @property
    def is_open(self) -> bool:
        """Whether its own session stands."""
        return self.session is not None and self.session.state is State.OPEN

    @property
    def goodbye(self) -> str | None:
        """The reason for which the host has hung up, None if it has not or did not say."""
        return next((one.reason for _, one in self.heard if isinstance(one, Bye)), None)

    def of(self, kind: type[MessageT]) -> list[MessageT]:
        """Return all messages of a kind that were heard."""
        return [one for _, one in self.heard if isinstance(one, kind)]

    def questions(self) -> list[Question]:
        """Return all questions that were heard."""
        return [one for _, one in self.heard if isinstance(one, Question)]

    def was_told(self, data: bytes, since: int = 0) -> bool:
        """Whether a head came whole, among what was heard from number *since* on."""
        return any(data in one.heads for _, one in self.heard[since:] if isinstance(one, Put))
