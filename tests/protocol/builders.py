"""Members, co-ops, catalogues and conversations for the tests of protocol/, the same on every run.

Every key comes from SHA-256 of a small number; nothing here knows what time it is or throws dice.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings

from protocol import chunks, head, identity, keys, minutes, roster, signing, statements, trie
from protocol.encoding import encode
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream, Version
from protocol.identity import Identity, IdentityStatement
from protocol.limits import CHUNK_ENTRIES
from protocol.messages import Nodes, WalkTrie
from protocol.pull import Replace, Walk
from protocol.session import Event, Me, Role, Session
from protocol.statements import Statement

QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
"""For every hypothesis test: the same examples each time, and no clock."""


@contextmanager
def refused(reason: Reason) -> Iterator[None]:
    """Expect a refusal for exactly this reason, with a sentence for a person."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.reason is reason, f"{caught.value.reason} instead of {reason}: {caught.value.detail}"
    assert str(caught.value) == f"{caught.value.detail} ({reason.value})"


def secret(name: int | str) -> bytes:
    """Return 32 bytes that look random and are the same on every run."""
    return hashlib.sha256(f"coopnode test {name}".encode()).digest()


COOP = secret("co-op")
OTHER_COOP = secret("another co-op")


@dataclass(frozen=True)
class Member:
    """A business with its first identity statement and the seeds of its keys."""

    seed: bytes
    rotation_seed: bytes
    identity: Identity

    @property
    def member_id(self) -> bytes:
        return self.identity.member_id

    def says(self, kind: str, *, coop: bytes = COOP, revision: int = 1, epoch: int = 0, **own: Any) -> Statement:
        """Sign a statement."""
        return statements.write(
            kind,
            member_id=self.member_id,
            epoch=epoch,
            revision=revision,
            coop_id=coop,
            seed=self.seed,
            fields=own,
        )

    @property
    def log(self) -> list[bytes]:
        return [one.signed.to_bytes() for one in self.identity.log]


def member(number: int) -> Member:
    """Return the member with this number."""
    seed, rotation = secret(f"key {number}"), secret(f"rotation {number}")
    body = identity.body(
        seq=0,
        prev=None,
        rotation=[keys.public_key(rotation)],
        key=keys.public_key(seed),
        epoch=0,
        next_hash=None,
        by=keys.public_key(rotation),
    )
    signed = signing.sign(identity.WHAT, signing.NO_COOP, body, rotation)
    return Member(seed, rotation, identity.fold([identity.read(signed.to_bytes())]))


# ── identity logs in chain notation ───────────────────────────────────────────────────────────────────


class Scenario:
    """Identity statements from a notation such as `A1 -> A2 -> A4, A1 -> A3(r1 e9)`.

    In brackets: who signs (`r0` to `r2` the predecessor's rotation keys, `paper` its pre-rotated key,
    `stranger` a key without any right; default `r0`), `e<n>` the epoch and `s<n>` the sequence number
    (default: the predecessor's plus one).
    """

    ROTATION = (secret("r0"), secret("r1"), secret("r2"))
    _LINK = re.compile(r"(\w+)(?:\(([^)]*)\))?$")

    def __init__(self, notation: str) -> None:
        self.statements: dict[str, IdentityStatement] = {}
        for chain in notation.split(","):
            before: str | None = None
            for step in chain.split("->"):
                match = self._LINK.match(step.strip())
                assert match is not None, step
                name, how = match[1], (match[2] or "").split()
                if name not in self.statements:
                    self.statements[name] = self._write(name, before, how)
                before = name

    def _write(self, name: str, before: str | None, how: list[str]) -> IdentityStatement:
        parent = None if before is None else self.statements[before]
        who, seq, epoch = "r0", 0, 0
        if parent is not None:
            seq, epoch = parent.seq + 1, parent.epoch + 1
        for word in how:
            if word in ("r0", "r1", "r2", "paper", "stranger"):
                who = word
            elif word[0] == "e":
                epoch = int(word[1:])
            else:
                seq = int(word.removeprefix("s"))
        by = {"paper": secret(f"paper {before}"), "stranger": secret("stranger")}.get(who) or secret(who)
        body = identity.body(
            seq=seq,
            prev=None if parent is None else parent.statement_id,
            rotation=[keys.public_key(one) for one in self.ROTATION],
            key=keys.public_key(self.seed(name)),
            epoch=epoch,
            next_hash=hashlib.sha256(keys.public_key(secret(f"paper {name}"))).digest(),
            by=keys.public_key(by),
        )
        return identity.read(signing.sign(identity.WHAT, signing.NO_COOP, body, by).to_bytes())

    @staticmethod
    def seed(name: str) -> bytes:
        """Seed of the signing key that the statement *name* introduces."""
        return secret(f"signing {name}")

    def fold(self, settled: str | None = None, order: Iterable[str] | None = None) -> Identity:
        names = list(self.statements) if order is None else list(order)
        known = self.statements.get(settled) if settled else None
        settled_id = None if settled is None else (known.statement_id if known else secret("unknown"))
        return identity.fold([self.statements[name] for name in names], settled=settled_id)

    def shown(self, folded: Identity) -> str:
        """Write a folded log as names, with `!` when it is frozen."""
        names = {one.statement_id: name for name, one in self.statements.items()}
        return " ".join(names[one.statement_id] for one in folded.log) + (" !" if folded.frozen else "")


# ── co-ops ────────────────────────────────────────────────────────────────────────────────────────────

GENESIS_MS = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000


@dataclass
class Coop:
    """A co-op with its founders, its roster as of the latest page, and the identities known."""

    members: list[Member]
    bundle: bytes
    roster: roster.Roster
    known: dict[bytes, Identity] = field(default_factory=dict)

    @property
    def coop_id(self) -> bytes:
        return self.roster.coop_id

    def identity_of(self, member_id: bytes) -> Identity | None:
        return self.known.get(member_id)

    def by_id(self, member_id: bytes) -> Member:
        return next(one for one in self.members if one.member_id == member_id)

    @property
    def secretary(self) -> Member:
        """Whose turn it is to draft the next page."""
        return self.by_id(self.roster.secretary(self.roster.slot + 1))

    def invitation(self, number: int = 1, *, by: Member | None = None, uses: int = 1, days: int = 30) -> Statement:
        return (by or self.members[0]).says(
            statements.INVITATION,
            coop=self.coop_id,
            revision=number,
            nonce=secret(f"invitation {number}")[:16],
            until_ms=GENESIS_MS + days * DAY_MS,
            uses=uses,
        )

    def application(self, newcomer: Member, invitation: Statement, *, epoch: int = 0, **changes: Any) -> Statement:
        own = {"invitation": invitation.statement_id, "name": "Newcomer", "log": newcomer.log, **changes}
        return newcomer.says(statements.APPLICATION, coop=self.coop_id, epoch=epoch, **own)

    def admission(self, newcomer: Member, invitation: Statement | None = None) -> dict[str, Any]:
        invitation = invitation or self.invitation()
        application = self.application(newcomer, invitation)
        return roster.admission(invitation.signed.to_bytes(), application.signed.to_bytes())

    def draft(self, acts: list[dict[str, Any]] | None = None, time_ms: int = GENESIS_MS + DAY_MS) -> dict[str, Any]:
        return roster.draft(self.roster, acts or [], time_ms, self.identity_of)

    def page(self, fields: dict[str, Any] | None = None, *, by: Member | None = None, **changes: Any) -> minutes.Page:
        own = {**(fields or self.draft()), **changes}
        return minutes.page_of((by or self.secretary).says(statements.PAGE, coop=self.coop_id, **own))

    def final(self, of: minutes.Page, by: Member, **changes: Any) -> Statement:
        own = {"slot": of.slot, "page": of.page_id, **changes}
        return by.says(statements.FINAL, coop=self.coop_id, **own)

    def official(self, page: minutes.Page, signers: Iterable[Member] | None = None) -> minutes.OfficialPage:
        signing_ = self.members if signers is None else signers
        data = minutes.write_official(page, [self.final(page, one) for one in signing_])
        return minutes.read_official(data)

    def admit(self, newcomer: Member, invitation: Statement | None = None) -> None:
        """Write an official page that admits *newcomer*."""
        page = self.page(self.draft([self.admission(newcomer, invitation)]))
        self.roster = roster.check_certificate(self.official(page), self.roster, self.identity_of)
        self.known[newcomer.member_id] = newcomer.identity
        self.members.append(newcomer)


def genesis_of(founders: list[Member], **changes: Any) -> tuple[bytes, bytes]:
    """Return (charter's bundle, co-op id)."""
    own: dict[str, Any] = {
        "name": "Test co-op",
        "founders": [one.member_id for one in founders],
        "time_ms": GENESIS_MS,
        "nonce": secret("nonce")[:16],
        "policy": {"fee_bp": 100, "motto": "one member, one vote"},
        **changes,
    }
    body = minutes.genesis_body(**own)
    ordered = sorted(founders, key=lambda one: one.member_id)
    signatures = [minutes.sign_genesis(body, one.seed) for one in ordered]
    bundle = minutes.genesis_bundle(body, signatures, [line for one in ordered for line in one.log])
    return bundle, hashlib.sha256(body).digest()


def coop(founders: int = 3) -> Coop:
    """Return a fresh co-op with this many founders, numbered from 1."""
    members = [member(number) for number in range(1, founders + 1)]
    bundle, coop_id = genesis_of(members)
    genesis = minutes.read_genesis(bundle, coop_id)
    known = {one.member_id: one for one in genesis.founders}
    return Coop(members, bundle, roster.from_genesis(genesis), known)


# ── catalogues ────────────────────────────────────────────────────────────────────────────────────────


def key_hex(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def listing(number: int, edition: int = 0) -> tuple[bytes, bytes]:
    """Return key and value of a small listing."""
    return b"sku-%d" % number, encode({"title": f"Article {number}", "text": f"edition {edition}"})


def listings(number: int, edition: int = 0) -> dict[bytes, bytes]:
    return dict(listing(one, edition) for one in range(number))


class Catalogue:
    """All records of a stream in memory: what an author serves, and what a follower keeps."""

    def __init__(self, collections: Mapping[str, Mapping[bytes, bytes]] | None = None) -> None:
        self.collections: dict[str, dict[bytes, bytes]] = {
            name: dict(records) for name, records in (collections or {}).items() if records
        }
        self._order: dict[str, list[tuple[str, bytes]]] = {}
        self._summaries: dict[tuple[str, str], trie.Summary] = {}

    def changed(self) -> None:
        """Forget what was computed; call after touching `collections`."""
        self.collections = {name: records for name, records in self.collections.items() if records}
        self._order.clear()
        self._summaries.clear()

    def keys_under(self, collection: str, prefix: str) -> list[bytes]:
        order = self._order.get(collection)
        if order is None:
            order = sorted((key_hex(key), key) for key in self.collections.get(collection, {}))
            self._order[collection] = order
        start, end = bisect_left(order, (prefix, b"")), bisect_left(order, (prefix + "g", b""))
        return [key for _, key in order[start:end]]

    def records_under(self, collection: str, prefix: str) -> list[tuple[bytes, bytes]]:
        return [(key, self.collections[collection][key]) for key in self.keys_under(collection, prefix)]

    def entries_under(self, collection: str, prefix: str) -> bytes:
        return trie.entries(self.records_under(collection, prefix))

    def summary(self, collection: str, prefix: str) -> trie.Summary:
        place = (collection, prefix)
        if place not in self._summaries:
            self._summaries[place] = trie.summarise(self.entries_under(collection, prefix), len(prefix))
        return self._summaries[place]

    def summaries(self) -> dict[str, trie.Summary]:
        return {name: self.summary(name, "") for name in self.collections}

    @property
    def state_root(self) -> bytes:
        return trie.state_root(self.summaries())

    def head(self, author: Member, rev: int = 1_000_000, *, coop_id: bytes = COOP, **changes: Any) -> Head:
        """Sign the head of this state."""
        own: dict[str, Any] = {
            "stream": Stream(author.member_id, 0),
            "version": Version(0, rev),
            "instance": b"instance",
            "prev": head.NO_HASH,
            "state_root": self.state_root,
            "record_count": sum(one.count for one in self.summaries().values()),
            "record_bytes": sum(one.size for one in self.summaries().values()),
            **changes,
        }
        return head.read(signing.sign(head.WHAT, coop_id, head.body(**own), author.seed).to_bytes())

    def node(self, collection: str, prefix: str, *, nodes_above: int = CHUNK_ENTRIES) -> list[Any]:
        """Answer for one prefix: 16 summaries where more than *nodes_above* records lie below, else the chunk."""
        if self.summary(collection, prefix).count > nodes_above:
            children = [self.summary(collection, prefix + nibble) for nibble in trie.HEX]
            return [prefix, 0, [[one.count, one.size, one.hash] for one in children]]
        return [prefix, 1, chunks.write_chunk(self.records_under(collection, prefix))]

    def serve(self, question: WalkTrie, *, most: int = 256, nodes_above: int = CHUNK_ENTRIES) -> Nodes:
        """Answer as an honest node does, with at most *most* items."""
        state = b"" if question.collection else trie.state_body(self.summaries())
        prefixes = question.prefixes[:most]
        items = [self.node(question.collection, prefix, nodes_above=nodes_above) for prefix in prefixes]
        return Nodes(question.request, None, state, items)

    def apply(self, changes: Iterable[Replace]) -> None:
        """Keep what a walk handed out."""
        for change in changes:
            records = self.collections.setdefault(change.collection, {})
            # The changes of one answer lie under different prefixes, so the order of before serves them all.
            for key in self.keys_under(change.collection, change.prefix):
                records.pop(key, None)
            if change.chunk is not None:
                records.update(zip(change.chunk.keys, change.chunk.values, strict=True))
        self.changed()

    def walk_to(self, target: Head) -> Walk:
        """Begin a walk from what is held here to *target*."""
        # The walk asks what was held when it began: a copy, so that applying changes cannot disturb it.
        before = Catalogue(self.collections)
        return Walk(target, before.summaries(), before.summary)


Peer = Callable[[WalkTrie], Nodes]


def finish(walk: Walk, copy: Catalogue, peer: Peer) -> int:
    """Drive *walk* to its end, keeping what it hands out in *copy*; return the number of questions."""
    asked = 0
    while not walk.done:
        questions = walk.questions()
        assert questions, "the walk is not done and asks nothing"
        for question in questions:
            asked += 1
            copy.apply(walk.receive(question, peer(question)))
    return asked


# ── conversations ─────────────────────────────────────────────────────────────────────────────────────


def me(who: Member, instance: bytes | None = None, coop_id: bytes = COOP) -> Me:
    return Me(coop_id, who.identity, who.seed, instance or who.member_id[:8])


def sessions(dialer: Me | None = None, listener: Me | None = None, now_ms: int = 0) -> tuple[Session, Session]:
    """Return a dialer and a listener that have not spoken yet."""
    return (
        Session(dialer or me(member(1)), Role.DIALER, secret("dialer's nonce"), now_ms),
        Session(listener or me(member(2)), Role.LISTENER, secret("listener's nonce"), now_ms),
    )


def pump(one: Session, other: Session, now_ms: int = 0) -> tuple[list[Event], list[Event]]:
    """Carry messages both ways until nobody has anything to say; return the events of each side."""
    events: tuple[list[Event], list[Event]] = ([], [])
    while True:
        to_other, to_one = one.data_to_send(), other.data_to_send()
        if not to_other and not to_one:
            return events
        for data in to_other:
            events[1].extend(other.receive(data, now_ms))
        for data in to_one:
            events[0].extend(one.receive(data, now_ms))


def opened(now_ms: int = 0) -> tuple[Session, Session]:
    """Return a dialer and a listener in an open session."""
    dialer, listener = sessions(now_ms=now_ms)
    pump(dialer, listener, now_ms)
    return dialer, listener
