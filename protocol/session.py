"""One conversation between two nodes, without a socket and without a clock.

The shape is that of h11: the caller feeds received messages with `receive`, sends with `send` and `ask`,
writes out what `data_to_send` returns, and calls `tick` at `next_deadline`. Time is handed in as
milliseconds of any steady clock.

    dialer   -> Hello                       state HELLO
    listener -> Hello, Proof                state PROOF (both sides wait for the other's proof)
    dialer   -> Proof, Status               state OPEN
    listener -> Status                      state OPEN

A message that breaks a rule ends the session with a Bye that names the rule; items *inside* a message
are judged by the node, not here. Nothing is allowed that the table does not list. Specification, section 9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from protocol import identity as identities
from protocol import messages, shape, signing
from protocol.encoding import encode
from protocol.errors import LocalError, Reason, Refused
from protocol.identity import Identity, IdentityStatement
from protocol.limits import (
    HANDSHAKE_MS,
    MAX_GIVEN_UP,
    MAX_REQUESTS_UNDER_WAY,
    PING_EVERY_MS,
    QUIET_MS,
    QUIET_PING_EVERY_MS,
    REQUEST_MS,
    SILENT_MS,
    SUSPECT_MS,
)
from protocol.messages import Answer, Busy, Bye, Hello, Message, Ping, Pong, Proof, Put, Question, Status, Twin
from protocol.signing import Signed

WHAT_LINK = "link"
VERSION = 1
MESSAGE_BYTES = 64
"""What a message costs in memory beside its bytes, about."""


class Role(Enum):
    """Which side opened the link."""

    DIALER = "dialer"
    LISTENER = "listener"


class State(Enum):
    """Where the conversation stands."""

    HELLO = auto()
    PROOF = auto()
    OPEN = auto()
    CLOSED = auto()


# What may be received in which state; everything else is out_of_turn.
TURNS: dict[State, tuple[type[Message], ...]] = {
    State.HELLO: (Hello, Bye),
    State.PROOF: (Proof, Bye),
    State.OPEN: (
        Status,
        Put,
        messages.Since,
        messages.News,
        messages.GetOps,
        messages.Ops,
        messages.WalkTrie,
        messages.Nodes,
        messages.GetPages,
        messages.Pages,
        messages.Reconcile,
        messages.Reconciled,
        messages.GetItems,
        messages.Items,
        messages.Have,
        messages.Graft,
        messages.Prune,
        Busy,
        Ping,
        Pong,
        Twin,
        Bye,
    ),
    State.CLOSED: (),
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer has proved that it holds the key of *identity*. Whether it is a member is for the caller."""

    identity: Identity
    instance: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A message for the caller: status, news, a question to answer, a twin warning."""

    message: Message


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question that `ask` sent."""

    question: Question
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question whose answer will not come: time ran out, the session closed, or the peer is busy.

    *retry_ms* is 0 but for a busy peer, which should not be asked again before so much time has passed.
    """

    question: Question
    retry_ms: int = 0


@dataclass(frozen=True, slots=True)
class Silent:
    """A ping has had no echo for a while: the peer may be gone. Whatever comes from it says that it is not."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over. *reason* is None when the peer or we left without a fault."""

    reason: Reason | None
    detail: str


Event = Opened | Received | Answered | Unanswered | Silent | Closed


@dataclass(frozen=True, slots=True)
class Me:
    """What a session needs to know of our own node."""

    coop_id: bytes
    identity: Identity
    seed: bytes
    instance: bytes


@dataclass(frozen=True, slots=True)
class Tools:
    """What a session reads and signs with: the rules' own functions, or the same functions with a memory.

    Whoever runs thousands of sessions in one process (the simulator) remembers what was read and verified before.
    """

    read: Callable[[bytes], Message] = messages.read
    read_identity: Callable[[bytes], IdentityStatement] = identities.read
    sign: Callable[[str, bytes, bytes, bytes], Signed] = signing.sign
    verify: Callable[[Signed, str, bytes, bytes], None] = signing.verify


TOOLS = Tools()


class Session:
    """State of one link; see the module's text. *nonce* is 32 random bytes that nobody has seen before."""

    def __init__(self, me: Me, role: Role, nonce: bytes, now_ms: int, tools: Tools = TOOLS) -> None:
        self._me = me
        self._tools = tools
        self._role = role
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._asked: dict[int, tuple[Question, int]] = {}
        self._given_up: dict[int, type[Question]] = {}
        self._waiting: deque[Question] = deque()
        self._next_request = 1
        self._heard_ms = now_ms
        self._busy_ms = now_ms
        self._pinged_ms = now_ms
        self.is_silent = False
        """Whether a ping waits for its echo longer than it should."""
        self._deadline_ms = now_ms + HANDSHAKE_MS
        self._theirs: Hello | None = None
        self._their_identity: Identity | None = None
        self._mine = Hello(
            VERSION,
            me.coop_id,
            me.identity.member_id,
            me.instance,
            nonce,
            [one.signed.to_bytes() for one in me.identity.log],
        )
        self.state = State.HELLO
        if role is Role.DIALER:
            self._write(self._mine)

    # ── what the caller drives ────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, now_ms: int) -> list[Event]:
        """Take one message from the wire; return what it means. Never raises for their bytes."""
        if self.state is State.CLOSED:
            return []
        self._heard_ms = now_ms
        self.is_silent = False
        try:
            message = self._tools.read(data)
            if not isinstance(message, Ping | Pong):
                self._busy_ms = now_ms
            if not isinstance(message, TURNS[self.state]):
                raise Refused(Reason.OUT_OF_TURN, f"{type(message).__name__} may not come in state {self.state.name}")
            return self._on_message(message, now_ms)
        except Refused as refused:
            return self.close(refused.reason, refused.detail)

    def send(self, message: Message) -> None:
        """Queue a message that expects no answer, or an answer to the peer's question."""
        if self.state is not State.OPEN:
            raise LocalError(f"cannot send in state {self.state.name}")
        self._write(message)

    def ask(self, question: Question, now_ms: int) -> int:
        """Queue a question and return its request number, which is set here.

        At most 4 are under way, the rest wait.
        """
        if self.state is not State.OPEN:
            raise LocalError(f"cannot ask in state {self.state.name}")
        request = self._next_request
        self._next_request = request % (2**32 - 1) + 1
        self._waiting.append(replace(question, request=request))
        self._ask_waiting(now_ms)
        return request

    def close(self, reason: Reason | None = None, detail: str = "") -> list[Event]:
        """End the session, tell the peer why, and return what is lost by it."""
        if self.state is State.CLOSED:
            return []
        # Cut and cleaned so that the peer's own check of a Bye lets it through (4 bytes a character at most).
        sayable = "".join("?" if shape.is_control(char) else char for char in detail[:120])
        self._write(Bye("leaving" if reason is None else reason.value, sayable))
        return self._end(reason, detail)

    def lost(self) -> list[Event]:
        """Note that the connection is gone; return what is lost by it."""
        return [] if self.state is State.CLOSED else self._end(None, "the connection was lost")

    def data_to_send(self) -> list[bytes]:
        """Return the messages to write, in order, once."""
        out = list(self._out)
        self._out.clear()
        self._out_bytes = 0
        return out

    @property
    def unsent_bytes(self) -> int:
        """What `data_to_send` would return now: a caller whose peer takes nothing stops before it is too much.

        Each message counts for `MESSAGE_BYTES` besides its own, so that many small ones are noticed as well.
        """
        return self._out_bytes

    def probe(self, now_ms: int) -> None:
        """Ask the peer at once whether it is there, unless it has been asked since it was last heard."""
        if self.state is State.OPEN and (self._pinged_ms <= self._heard_ms or now_ms >= self._next_ping_ms()):
            self._pinged_ms = now_ms
            self._write(Ping(now_ms))

    def next_deadline(self) -> int | None:
        """Return when `tick` must be called at the latest, or None when the session is over."""
        if self.state is State.CLOSED:
            return None
        if self.state is not State.OPEN:
            return self._deadline_ms
        deadlines = [deadline for _, deadline in self._asked.values()]
        if self._pinged_ms > self._heard_ms and not self.is_silent:
            deadlines.append(self._pinged_ms + SUSPECT_MS)
        return min([*deadlines, self._heard_ms + SILENT_MS, self._next_ping_ms()])

    def tick(self, now_ms: int) -> list[Event]:
        """Do what time demands: keep the link alive, give up on answers, close a silent session."""
        if self.state is State.CLOSED:
            return []
        if self.state is not State.OPEN:
            if now_ms >= self._deadline_ms:
                return self.close(Reason.TIMED_OUT, "the handshake took too long")
            return []
        if now_ms >= self._heard_ms + SILENT_MS:
            return self.close(Reason.TIMED_OUT, "nothing was heard for too long")
        events: list[Event] = []
        if self._pinged_ms > self._heard_ms and now_ms >= self._pinged_ms + SUSPECT_MS and not self.is_silent:
            self.is_silent = True
            events.append(Silent())
        if now_ms >= self._next_ping_ms():
            self.probe(now_ms)
        late = [question for question, deadline in self._asked.values() if now_ms >= deadline]
        for question in late:
            del self._asked[question.request]
            self._give_up(question)
            events.append(Unanswered(question))
        self._ask_waiting(now_ms)
        return events

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _next_ping_ms(self) -> int:
        """Nothing is asked while the peer is heard anyway; more often while news flow, since then it matters."""
        quiet = self._heard_ms - self._busy_ms >= QUIET_MS
        return max(self._heard_ms, self._pinged_ms) + (QUIET_PING_EVERY_MS if quiet else PING_EVERY_MS)

    def _on_message(self, message: Message, now_ms: int) -> list[Event]:
        match message:
            case Hello():
                return self._on_hello(message)
            case Proof():
                return self._on_proof(message, now_ms)
            case Ping():
                self._write(Pong(message.nonce))
                return []
            case Bye():
                return self._end(None, f"{message.reason}: {message.detail}" if message.detail else message.reason)
            case Busy():
                return self._on_busy(message, now_ms)
            case _ if isinstance(message, Answer):
                return self._on_answer(message, now_ms)
            case _:
                return [Received(message)]

    def _on_hello(self, hello: Hello) -> list[Event]:
        if hello.version != VERSION:
            raise Refused(Reason.WRONG_VERSION, f"version {hello.version} of the session is not known here")
        if hello.coop_id != self._me.coop_id:
            raise Refused(Reason.WRONG_COOP, "the peer belongs to another co-op")
        if hello.instance == self._me.instance or hello.nonce == self._mine.nonce:
            raise Refused(Reason.SAME_NODE, "this node has called itself")
        identity = identities.fold([self._tools.read_identity(one) for one in hello.log], hello.member_id)
        self._theirs, self._their_identity = hello, identity
        if self._role is Role.LISTENER:
            self._write(self._mine)
        self._write(Proof(self._prove()))
        self.state = State.PROOF
        return []

    def _on_proof(self, proof: Proof, now_ms: int) -> list[Event]:
        assert self._theirs is not None
        assert self._their_identity is not None
        body = self._transcript(by_us=False)
        current: IdentityStatement = self._their_identity.current
        self._tools.verify(Signed(proof.signature, body), WHAT_LINK, self._me.coop_id, current.key)
        self.state = State.OPEN
        self._pinged_ms = now_ms
        return [Opened(self._their_identity, self._theirs.instance)]

    def _on_answer(self, answer: Answer, now_ms: int) -> list[Event]:
        question, _ = self._asked.get(answer.request, (None, 0))
        asked = self._given_up.get(answer.request) if question is None else type(question)
        if asked is None or not isinstance(answer, messages.ANSWER_TO[asked]):
            raise Refused(Reason.UNASKED, "an answer came that nobody asked for")
        if question is None:
            del self._given_up[answer.request]  # late but honest; somebody else has been asked
            return []
        del self._asked[answer.request]  # not earlier: a refusal must still list the question as unanswered
        self._ask_waiting(now_ms)
        return [Answered(question, answer)]

    def _on_busy(self, busy: Busy, now_ms: int) -> list[Event]:
        """Take a question as ended; the peer may say so of any kind of question, once."""
        question, _ = self._asked.pop(busy.request, (None, 0))
        if question is None:
            if self._given_up.pop(busy.request, None) is None:
                raise Refused(Reason.UNASKED, "a peer is too busy for what nobody has asked")
            return []
        self._ask_waiting(now_ms)
        return [Unanswered(question, busy.retry_ms)]

    def _give_up(self, question: Question) -> None:
        self._given_up[question.request] = type(question)
        if len(self._given_up) > MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def _ask_waiting(self, now_ms: int) -> None:
        while self._waiting and len(self._asked) < MAX_REQUESTS_UNDER_WAY:
            question = self._waiting.popleft()
            self._asked[question.request] = (question, now_ms + REQUEST_MS)
            self._write(question)

    def _end(self, reason: Reason | None, detail: str) -> list[Event]:
        self.state = State.CLOSED
        lost = [question for question, _ in self._asked.values()] + list(self._waiting)
        self._asked.clear()
        self._waiting.clear()
        return [*map(Unanswered, lost), Closed(reason, detail)]

    def _write(self, message: Message) -> None:
        data = messages.write(message)
        self._out.append(data)
        self._out_bytes += len(data) + MESSAGE_BYTES

    def _prove(self) -> bytes:
        return self._tools.sign(WHAT_LINK, self._me.coop_id, self._transcript(by_us=True), self._me.seed).signature

    def _transcript(self, *, by_us: bool) -> bytes:
        """Both hellos in the order dialer, listener, and who is speaking: nothing of it can be replayed."""
        assert self._theirs is not None
        we_dial = self._role is Role.DIALER
        dialer, listener = (self._mine, self._theirs) if we_dial else (self._theirs, self._mine)
        speaker = Role.DIALER if by_us == we_dial else Role.LISTENER
        return encode(
            [
                speaker.value,
                [dialer.member_id, dialer.instance, dialer.nonce],
                [listener.member_id, listener.instance, listener.nonce],
            ]
        )
