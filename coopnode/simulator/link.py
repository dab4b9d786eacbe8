"""What a simulated node keeps of one link, and one exchange in which it hears a peer out.

`Exchange` drives `protocol.catchup.CatchUp` as `coopnode.gossip.catchup` does: one question at a time, what has come is
committed before the next is asked, and the cursor moves only after that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from coopnode.simulator.network import End
from protocol.catchup import CatchUp, Mark
from protocol.messages import Question
from protocol.session import Session, State

NEVER_US = 1 << 62


@dataclass(slots=True)
class Exchange:
    """One hearing-out under way."""

    catch_up: CatchUp
    kept: Mark | None
    then: Callable[[], None]
    waiting: deque[Question] = field(default_factory=deque)


class Link:
    """One link of a node."""

    __slots__ = (
        "answering",
        "asked_us",
        "blocked",
        "deadline_us",
        "end",
        "ended",
        "exchanges",
        "inbox",
        "instance",
        "judged",
        "leave_us",
        "opened_us",
        "peer",
        "peer_number",
        "probe",
        "session",
        "store_nonce",
        "unanswered",
        "visit",
    )

    def __init__(self, end: End, session: Session, now_us: int, *, visit: bool) -> None:
        self.end = end
        self.session = session
        self.visit = visit
        self.peer: bytes | None = None
        self.peer_number = end.other.host.number
        self.instance: bytes | None = None
        self.store_nonce: bytes | None = None
        self.opened_us = NEVER_US
        self.judged = False
        self.asked_us = now_us
        self.leave_us = NEVER_US
        """When a visit may end, unless the host asks something before."""
        self.deadline_us = NEVER_US
        self.blocked = False
        """Whether what the link has brought is being committed: so long nothing more is read from it."""
        self.ended = False
        """Whether the connection is over, though what came over it is still being read."""
        self.inbox: deque[bytes] = deque()
        self.unanswered: list[Question] = []
        self.answering = 0
        self.exchanges: dict[int, Exchange] = {}
        """By the number of the request that is under way."""
        self.probe: Callable[[bool], None] | None = None
        """Told whether the link is alive, when it has been asked."""

    @property
    def dialed(self) -> bool:
        """Whether this node has called."""
        return self.end.dialed

    @property
    def is_open(self) -> bool:
        """Whether both sides have proved who they are and the link stands."""
        return self.session.state is State.OPEN
