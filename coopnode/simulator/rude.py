"""The scenario of bad manners: guests break one rule of the conversation each, and honest nodes must notice.

Four honest nodes in a full mesh, eight seats of members that are not there themselves: a guest takes a seat, breaks a
rule on purpose, and is gone. Each rule is a sentence that holds; the scenario returns those that do not. The thing to
understand: a guest's own session is the code that is tested, so what it must not do it does with bytes of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from coopnode.simulator import figures
from coopnode.simulator.coop import BEGINNING_MS, Member
from coopnode.simulator.figures import Figures
from coopnode.simulator.guest import Guest
from coopnode.simulator.node import SimulatedNode
from coopnode.simulator.parameters import ImpossibleError, Parameters
from coopnode.simulator.town import MakeNode, Town
from protocol.errors import Reason
from protocol.head import Head
from protocol.identity import Identity
from protocol.items import ItemKind
from protocol.limits import MAX_ITEMS
from protocol.messages import Message, Status
from protocol.session import Me, Role, Session

HONEST = 4
SEATS = 8
CALL_S = 2.5
"""So long a call and a handshake take at most."""


class Absent(SimulatedNode):
    """A member whose node is never there: guests speak in its name."""

    honest = False

    def start(self) -> None:
        """Stay away."""


@dataclass(slots=True)
class Stay:
    """What all rules share: the town, its host, and what was found."""

    town: Town
    broken: list[str] = field(default_factory=list)
    tried: int = 0
    turn: int = 0
    _closings: Counter[str] = field(default_factory=Counter)
    """For which reasons sessions had ended when the last guest called."""

    @property
    def host(self) -> SimulatedNode:
        """The node that guests call."""
        return self.town.nodes[0]

    @property
    def others(self) -> list[SimulatedNode]:
        """The other honest nodes: what the host passes on, they have."""
        return self.town.nodes[1:HONEST]

    def hold(self, true: bool, sentence: str) -> None:
        """Note *sentence* if it is not *true* that the rule was kept."""
        self.tried += 1
        if not true:
            self.broken.append(sentence)

    def run_s(self, seconds: float) -> None:
        """Let time go by."""
        self.town.run_s(seconds)

    def seat(self) -> Member:
        """Return the next member in whose name a guest can speak."""
        self.turn += 1
        return self.town.coop.members[HONEST + self.turn % SEATS]

    def rev(self, ahead_ms: int = 0) -> int:
        """Return a rev of now."""
        return (BEGINNING_MS + ahead_ms) * 1_000 + self.town.scheduler.now_us

    def head(self, member: Member, rev: int, word: str, *, seed: bytes | None = None, epoch: int = 1) -> Head:
        """Return a head of *member*, signed by its own key unless another *seed* is given."""
        coop = self.town.coop
        return coop.memory.read_head(coop.head(member, rev, word.encode(), seed=seed, epoch=epoch))

    def holds(self, node: SimulatedNode, head: Head) -> bool:
        """Whether a node has this very head."""
        return node.tables.items.has(head.head_id)

    def all_hold(self, head: Head) -> bool:
        """Whether all honest nodes have it."""
        return all(self.holds(node, head) for node in (self.host, *self.others))

    def any_holds(self, head: Head) -> bool:
        """Whether any honest node has it."""
        return any(self.holds(node, head) for node in (self.host, *self.others))

    def stranger(self, number: int) -> Member:
        """Return somebody who is no member, with a key that is right for nobody."""
        identity = self.town.coop.stranger(b"%d" % number)
        return Member(0, self.town.coop.secret("stranger's key"), identity, bytes(8))

    def me(self, member: Member, **other: object) -> Me:
        """Return what a session of *member* goes by; *other* takes the place of what is right."""
        instance = self.town.coop.secret("guest", self.turn, self.tried)[:8]
        right = Me(self.town.coop.coop_id, member.identity, member.seed, instance)
        return replace(right, **other)  # type: ignore[arg-type]  # what it has is checked by what is done with it

    def call(self, member: Member, me: Me | None, on_heard: Callable[[Guest, Message], None] | None = None) -> Guest:
        """Have a guest call the host; without *me* it only sends what it is given.

        *on_heard* is told of each message that it hears.
        """
        town = self.town
        self._closings = town.recorder.closings.copy()
        session = None
        if me is not None:
            nonce, tools = town.random.randbytes(32), town.coop.memory.tools_of_sessions()
            session = Session(me, Role.DIALER, nonce, town.scheduler.now_us // 1_000, tools)
        roster = town.coop.membership.roster
        status = Status(roster.slot, roster.page_id, town.coop.secret("guest store")[:8], [])
        guest = Guest(member.number, town.network, session, status)
        if on_heard is not None:
            guest.on_heard = on_heard
        town.network.dial(guest, self.host.number, lambda _number: None)
        self.run_s(CALL_S)
        return guest

    def visit(self, member: Member | None = None) -> Guest:
        """Return a guest who has been let in by the rules."""
        member = self.seat() if member is None else member
        guest = self.call(member, self.me(member))
        self.hold(guest.is_in, "A member that does all as it should is let in. (9.2)")
        return guest

    def end(self, guest: Guest) -> None:
        """Have a guest leave, and let the host forget it."""
        guest.leave()
        self.run_s(1)

    def refused(self, guest: Guest, reason: Reason, sentence: str) -> None:
        """Hold it against the host if it has not hung up for *reason*."""
        # Not by the goodbye that the guest has heard: what it has sent meanwhile may have reset the connection.
        self.hold(guest.is_over and self.town.recorder.closings[reason.value] > self._closings[reason.value], sentence)
        self.end(guest)

    def identity_at(self, node: SimulatedNode, member: Member) -> Identity:
        """Return what a node knows of a member's keys."""
        assert node.ingest.membership is not None
        found = node.ingest.membership.identity_of(member.member_id)
        assert found is not None
        return found

    def held_in(self, node: SimulatedNode, kind: ItemKind, slot: bytes) -> bytes | None:
        """Return what a node holds in a slot."""
        found: bytes | None = node.tables.items.in_slot(kind, slot)
        return found


Rule = Callable[[Stay], None]


def play(asked: Parameters, rules: tuple[Rule, ...]) -> tuple[Town, Figures]:
    """Have guests break all rules, one after the other."""
    if asked.nodes != HONEST + SEATS:
        raise ImpossibleError(f"Manners are tried in a full mesh of {HONEST + SEATS} nodes (--nodes).")

    def make(number: int) -> MakeNode:
        return SimulatedNode if number < HONEST else Absent

    town = Town(asked, make)
    stay = Stay(town)
    town.open(town.nodes[:HONEST])
    for rule in rules:
        rule(stay)
    town.run_until(lambda: town.frontiers() == 1, 180)
    return town, {
        "links": figures.of_links(town),
        "health": figures.of_health(town),
        # A queue holds one place for each thing that is told about, and guests tell of more than an answer may hold.
        "bounds": {"links_fewest": HONEST - 1, "longest_queue": 2 * MAX_ITEMS},
        "scenario_figures": {"rules_tried": stay.tried, "rules_broken": stay.broken},
    }
