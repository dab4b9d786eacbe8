"""The co-op that is simulated: members with real keys, their real signed heads, one membership that all share.

The thing to understand: every signature is made by Ed25519 and everything received is checked by the rules' own
functions, but each is checked once for all nodes: they share what was read and found right (`Memory`), because in
one process it is the same bytes. What was never signed by anybody still goes the whole way and fails.
A charter has at most MAX_FOUNDERS founders; here the roster is made directly, so that it may be of any size.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coopnode import ingest
from coopnode.membership import Membership
from protocol import head as heads
from protocol import identity as identities
from protocol import keys, messages, roster, session, signing
from protocol.errors import Refused
from protocol.head import Head, Stream, Version
from protocol.identity import Identity, IdentityStatement
from protocol.items import ItemKind
from protocol.messages import Message
from protocol.minutes import Genesis
from protocol.roster import Roster
from protocol.signing import NO_COOP, Signed

BEGINNING_MS = 1_800_000_000_000
"""What the clocks of people show when a run begins."""
MAX_READ = 20_000


@dataclass(frozen=True, slots=True)
class Member:
    """A business with its key. *number* is its place in the simulation."""

    number: int
    seed: bytes
    identity: Identity
    instance: bytes

    @property
    def member_id(self) -> bytes:
        """The member id."""
        return self.identity.member_id


class Memory:
    """What was read and verified before, shared by all nodes. Bytes that are equal are judged once."""

    def __init__(self) -> None:
        self._messages: dict[bytes, Message] = {}
        self._identities: dict[bytes, IdentityStatement] = {}
        self._heads: dict[bytes, Head] = {}
        self._verdicts: dict[tuple[bytes, bytes, bytes, bool], Refused | None] = {}
        self._publics: dict[bytes, bytes] = {}
        self._signed: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        self.verified = 0
        """How many signatures were checked by Ed25519."""

    def tools_of_sessions(self) -> session.Tools:
        """Return what sessions read and sign with."""
        return session.Tools(self.read, self.read_identity, self.sign, self.verify)

    def tools_of_ingest(self) -> ingest.Tools:
        """Return what the door reads and verifies heads with."""
        return ingest.Tools(self.read_head, self.verify_head)

    def read(self, data: bytes) -> Message:
        """Decode a message. Only those that travel to many are remembered."""
        found = self._messages.get(data)
        if found is None:
            found = messages.read(data)
            if isinstance(found, messages.Put):
                if len(self._messages) >= MAX_READ:
                    self._messages.clear()
                self._messages[data] = found
        return found

    def read_identity(self, data: bytes) -> IdentityStatement:
        """Decode an identity statement and verify its signature."""
        found = self._identities.get(data)
        if found is None:
            found = self._identities[data] = identities.read(data)
        return found

    def read_head(self, data: bytes) -> Head:
        """Decode a head."""
        found = self._heads.get(data)
        if found is None:
            found = heads.read(data)
            if len(self._heads) >= MAX_READ:
                self._heads.clear()
            self._heads[data] = found
        return found

    def verify_head(self, head: Head, coop_id: bytes, identity: Identity) -> None:
        """Check who signed a head. Signature, body, and how far the identity log goes decide."""
        key = (head.signed.signature, head.signed.body, identity.current.statement_id, identity.frozen)
        if key not in self._verdicts:
            if len(self._verdicts) >= MAX_READ:
                self._verdicts.clear()
            self.verified += 1
            try:
                heads.verify(head, coop_id, identity)
                self._verdicts[key] = None
            except Refused as refused:
                self._verdicts[key] = refused
        refused_before = self._verdicts[key]
        if refused_before is not None:
            raise Refused(refused_before.reason, refused_before.detail)

    def sign(self, what: str, coop_id: bytes, body: bytes, seed: bytes) -> Signed:
        """Sign, and remember until it is verified that this signature belongs to these bytes."""
        signed = signing.sign(what, coop_id, body, seed)
        public = self._publics.get(seed)
        if public is None:
            public = self._publics[seed] = keys.public_key(seed)
        self._signed[signed.signature] = (public, coop_id + what.encode(), body)
        return signed

    def verify(self, signed: Signed, what: str, coop_id: bytes, public_key: bytes) -> None:
        """Check a signature: what was signed here, by this key, over these bytes, is right."""
        if self._signed.pop(signed.signature, None) != (public_key, coop_id + what.encode(), signed.body):
            self.verified += 1
            signing.verify(signed, what, coop_id, public_key)


class Coop:
    """All members, what everybody knows of them, and the pen with which they sign."""

    def __init__(self, size: int, seed: int) -> None:
        self.seed = seed
        self.memory = Memory()
        self.members = [self._member(number) for number in range(size)]
        self.number_of = {one.member_id: one.number for one in self.members}
        self.membership = self._membership()
        self.coop_id = self.membership.coop_id
        self.identity_items = [
            (
                ItemKind.IDENTITY,
                one.identity.current.statement_id,
                one.identity.current.signed.to_bytes(),
                one.member_id,
            )
            for one in self.members
        ]

    def secret(self, *words: object) -> bytes:
        """Return 32 bytes that follow from the seed and *words*."""
        text = ":".join(str(word) for word in words)
        return hashlib.sha256(f"coopnode simulation {self.seed} {text}".encode()).digest()

    def head(self, member: Member, rev: int, content: bytes, *, seed: bytes | None = None, epoch: int = 1) -> bytes:
        """Return a signed head of *member*'s public catalogue; *seed* is another key than its own, for forgers."""
        body = heads.body(
            stream=Stream(member.member_id, 0),
            version=Version(epoch, rev),
            instance=member.instance,
            prev=hashlib.sha256(content + b"before").digest(),
            state_root=hashlib.sha256(content).digest(),
            record_count=1_000,
            record_bytes=300_000,
            since_rev=rev - 1,
            ops_root=hashlib.sha256(content + b"operations").digest(),
            ops_count=3,
            ops_bytes=900,
        )
        return signing.sign(heads.WHAT, self.coop_id, body, member.seed if seed is None else seed).to_bytes()

    def stranger(self, word: bytes) -> Identity:
        """Return the identity of somebody who is no member."""
        return self._identity(self.secret("stranger", word.hex()))

    def _member(self, number: int) -> Member:
        seed = self.secret("member", number)
        return Member(number, seed, self._identity(seed), self.secret("instance", number)[:8])

    def _identity(self, seed: bytes) -> Identity:
        key = keys.public_key(seed)
        body = identities.body(seq=0, prev=None, rotation=[key], key=key, epoch=1, next_hash=None, by=key)
        data = signing.sign(identities.WHAT, NO_COOP, body, seed).to_bytes()
        return identities.fold([self.memory.read_identity(data)])

    def _membership(self) -> Membership:
        founders = tuple(one.identity for one in self.members)
        genesis = Genesis(self.secret("co-op"), "Simulated", founders, BEGINNING_MS, {}, b"")
        first: Roster = roster.from_genesis(genesis)
        known = {one.member_id: one for one in founders}
        return Membership(genesis, first, {genesis.coop_id: first}, known)
