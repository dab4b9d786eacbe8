"""Nodes that lie, and the scenario in which a share of all nodes does.

Each kind is a member with a right key and a link like any other; only what it says is wrong. What it does besides is
what an honest node does, so that it is not found out by being odd.
"""

from __future__ import annotations

from coopnode.simulator import figures
from coopnode.simulator.coop import Member
from coopnode.simulator.figures import Figures, Meter
from coopnode.simulator.link import NEVER_US, Link
from coopnode.simulator.memory import MemoryTables
from coopnode.simulator.node import SimulatedNode, Stage
from coopnode.simulator.parameters import ImpossibleError, Parameters
from coopnode.simulator.scenarios import PATIENCE_S, finish
from coopnode.simulator.scheduler import SECOND
from coopnode.simulator.talk import Talk
from coopnode.simulator.town import MakeNode, Town
from coopnode.simulator.writer import Writer
from protocol.items import Item
from protocol.limits import SHORT_ID_BYTES
from protocol.messages import GetItems, Graft, Have, Items, News, Prune, Put, Question, Since

EVERY_US = 2 * SECOND
"""So often a liar does its worst."""


class Liar(SimulatedNode):
    """What all liars share: something to do now and then."""

    honest = False

    def __init__(self, stage: Stage, member: Member, tables: MemoryTables, skew_ms: int) -> None:
        self._worst_us = NEVER_US
        super().__init__(stage, member, tables, skew_ms)

    def start(self) -> None:
        """Begin a life; the first lie comes after a while."""
        self._worst_us = self.scheduler.now_us + 10 * SECOND + int(EVERY_US * self.stage.random.random())
        super().start()
        self.arm(self._worst_us)

    def tick(self, now_us: int) -> None:
        """Do what is due, and the worst."""
        if self._worst_us <= now_us:
            self._worst_us = now_us + EVERY_US
            self.lie()
        self.arm(self._worst_us)

    def lie(self) -> None:
        """Do what this kind does."""

    def open_links(self) -> list[Link]:
        """Return the links on which something can be said."""
        return [link for link in self.links if link.is_open and link.judged]

    def rev(self) -> int:
        """Return a rev of now."""
        return self.now_ms() * 1_000


class _KeepingWriter(Writer):
    """Takes everything in and tells nothing on, but names it: whoever asks for it asks in vain."""

    def spread(self, item: Item, came_from: Link | None, *, pushed: bool) -> None:
        """Keep it."""
        node = self._node
        if item.author == node.member.member_id:
            super().spread(item, came_from, pushed=pushed)
            return
        self._remember(item.item_id)
        for link in node.links:
            if link is not came_from and link.is_open and link.judged:
                node.say(link, Have(item.item_id[:SHORT_ID_BYTES]))


class _KeepingTalk(Talk):
    """Says that there is nothing new."""

    def _answer(self, link: Link, question: Question) -> None:
        nonce = self._node.tables.meta.get("store_nonce") or bytes(8)
        if isinstance(question, Since):
            seq = self._node.tables.items.last_seq()
            self._node.say(link, News(question.request, nonce, seq, True, False, [], [], []))
        elif isinstance(question, GetItems):
            self._node.say(link, Items(question.request, [], [], []))
        else:
            super()._answer(link, question)


class Withholder(Liar):
    """Never passes anything on, and names what it does not give."""

    def _make_writer(self) -> Writer:
        return _KeepingWriter(self)

    def _make_talk(self) -> Talk:
        return _KeepingTalk(self)

    def hear(self, link: Link, message: Have | Graft | Prune) -> None:
        """Pass over what it is asked for."""
        if not isinstance(message, Graft):
            super().hear(link, message)


class Forger(Liar):
    """Puts words into others' mouths: with its own signature, with a broken one, for members that do not exist."""

    def lie(self) -> None:
        """Send on every link what nobody may take in."""
        coop, random = self.stage.coop, self.stage.random
        others = len(coop.members) - 1
        victim = coop.members[(self.number + 1 + random.randrange(others)) % (others + 1)]
        content = random.randbytes(8)
        mine = coop.head(victim, self.rev(), content, seed=self.member.seed)
        real = coop.head(self.member, self.rev(), content)
        broken = real[:40] + bytes([real[40] ^ 1]) + real[41:]
        stranger = Member(0, self.member.seed, coop.stranger(random.randbytes(8)), self.member.instance)
        unknown = coop.head(stranger, self.rev(), content)
        # Its own words, and yet not to be taken in: from an hour ahead, and of a time before its own key.
        ahead = coop.head(self.member, self.rev() + 3_600_000_000, content)
        unfenced = coop.head(self.member, self.rev(), content, epoch=0)
        forged = [mine, broken, unknown, ahead, unfenced]
        self.recorder.forged.update(forged)
        for link in self.open_links():
            self.say(link, Put(forged, [], []))


class Equivocator(Liar):
    """Says one thing to half of its links and another to the others, under one version."""

    def lie(self) -> None:
        """Publish two heads with one rev, once: a later head would heal it."""
        if self.member.member_id in self.recorder.equivocations:
            return
        coop, random = self.stage.coop, self.stage.random
        links = self.open_links()
        if len(links) < 2:
            return
        rev = self.rev()
        pair = [coop.head(self.member, rev, random.randbytes(8)) for _ in range(2)]
        self.recorder.equivocations[self.member.member_id] = (pair[0], pair[1])
        for number, link in enumerate(links):
            self.say(link, Put([pair[number % 2]], [], []))


class Flooder(Liar):
    """Publishes without end, and sends what it knows again and again."""

    def lie(self) -> None:
        """Publish twenty heads and send all that it holds on every link."""
        for _ in range(20):
            rev = self.rev() + self.stage.random.randrange(1_000_000)
            data = self.stage.coop.head(self.member, rev, self.stage.random.randbytes(8))
            for link in self.open_links():
                self.say(link, Put([data], [], []))
        known = [item.data for item in self.tables.items.since(len(self.stage.coop.members), 200)]
        for link in self.open_links():
            self.say(link, Put(known, [], []))


class _HoardingWriter(Writer):
    """Remembers all that ever came."""

    def spread(self, item: Item, came_from: Link | None, *, pushed: bool) -> None:
        """Tell it on, and keep it for later."""
        node = self._node
        assert isinstance(node, Replayer)
        node.hoard.append(item.data)
        super().spread(item, came_from, pushed=pushed)


class Replayer(Liar):
    """Sends old words of others again, as if they were new."""

    def __init__(self, stage: Stage, member: Member, tables: MemoryTables, skew_ms: int) -> None:
        self.hoard: list[bytes] = []
        super().__init__(stage, member, tables, skew_ms)

    def _make_writer(self) -> Writer:
        return _HoardingWriter(self)

    def lie(self) -> None:
        """Send some of the oldest words on every link."""
        old = self.hoard[:50]
        for link in self.open_links() if old else ():
            self.say(link, Put(old, [], []))


KINDS: dict[str, type[Liar]] = {
    "withhold": Withholder,
    "forge": Forger,
    "equivocate": Equivocator,
    "flood": Flooder,
    "replay": Replayer,
}


def liars(asked: Parameters) -> tuple[Town, Figures]:
    """A share of the nodes lies, a part of them in each way; honest members publish."""
    names = [name.strip() for name in asked.kinds.split(",") if name.strip()] or list(KINDS)
    for name in names:
        if name not in KINDS:
            raise ImpossibleError(f"There are no liars of kind '{name}'. There are: {', '.join(KINDS)}.")
    count = int(asked.nodes * asked.share)
    # The first of the members lie: who calls whom is chance anyway, and none of them need be drawn for it.
    kinds = {number: KINDS[names[number % len(names)]] for number in range(count)}

    def make(number: int) -> MakeNode:
        return kinds.get(number, SimulatedNode)

    town = Town(asked, make)
    town.open()
    town.publish_all([town.random.choice(town.authors) for _ in range(asked.warm)], asked.interval_ms)
    meter = Meter(town)
    words = town.publish_all([town.random.choice(town.authors) for _ in range(asked.items)], asked.interval_ms)
    everything = town.run_until(lambda: town.all_have(words), PATIENCE_S)
    traffic = meter.read()
    # Now they stop, so that what is there can be compared.
    for number in kinds:
        town.nodes[number].crash(resets=True)
    made = finish(town, words, meter, {"fault timed_out": 1.0, "brought": 0.2})
    made["traffic"] = traffic
    evidence_missing = sum(
        not any(set(pair) == set(held) for held in node.tables.items.evidence())
        for pair in town.recorder.equivocations.values()
        for node in town.living()
    )
    made["scenario_figures"] = {
        "liars": {name: sum(kind is KINDS[name] for kind in kinds.values()) for name in names},
        "all_delivered_while_they_lied": everything,
        "forged": len(town.recorder.forged),
        "forged_accepted": town.recorder.forged_accepted,
        "links_dropped": town.recorder.dropped,
        "equivocations": len(town.recorder.equivocations),
        "evidence_missing": evidence_missing,
        "delay_ms": figures.spread_of([delay for word in words for delay in word.delays_ms]),
    }
    return town, made
