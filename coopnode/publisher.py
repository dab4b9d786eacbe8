"""Publishing the own catalogue, and never saying two different things under one version.

Runs in the writer's transaction; the caller announces what comes out, after `mark_announced`.
The thing to understand: edits first wait durably (`pending`) and are laid onto the own state when that is
safe. It is safe when enough peers have told us what they have last heard of us (or there are none). A
restored backup finds a later own word at a peer, takes that state back, lays the waiting edits on top and
goes on at the next epoch. A twin that is alive makes both halt. Specification, section 8.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from coopnode import highwater
from coopnode.folder import Folder
from coopnode.highwater import HighWater
from coopnode.ingest import head_slot
from coopnode.keystore import Keys
from coopnode.membership import Membership
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from coopnode.store.tries import Changed
from coopnode.world import World
from protocol import chunks, signing, statements
from protocol import head as heads
from protocol.chunks import OpsSummary
from protocol.encoding import deflate, encode
from protocol.head import NO_HASH, Head, Stream, Version
from protocol.items import ItemKind
from protocol.limits import MAX_AHEAD_MS, MAX_OPS, MAX_OPS_BYTES, STREAM_PUBLIC

NEEDED_ANSWERS = 3


class Phase(Enum):
    """Whether own heads may leave."""

    WAITING = "waiting"
    """Not enough peers have said what they know of us since the start."""
    BEHIND = "behind"
    """A peer knows a later own word: its state is being taken back."""
    READY = "ready"
    HALTED = "halted"
    """Another live node speaks for this member: `coopnode takeover` on one of them."""


@dataclass(frozen=True, slots=True)
class Published:
    """A new own head and what it changed."""

    head: Head
    changed: Mapping[str, Changed]
    change_seq: int


class Publisher:
    """The own stream. One a node; used by the writer thread, its phase is read by anybody."""

    def __init__(self, folder: Folder, keys: Keys, world: World) -> None:
        self._folder = folder
        self.keys = keys
        self._world = world
        self.stream = Stream(keys.identity.member_id, STREAM_PUBLIC)
        self.instance = world.random_bytes(8)
        self.phase = Phase.WAITING
        self.why = ""
        self.target: Head | None = None
        """The later own word that has to be taken back, while BEHIND."""
        self._answered: set[bytes] = set()
        self._overridden = False
        self._restored = False
        self._marked: Version | None = None
        self.say_again = False
        """Set when this store has turned out to be a restored one: peers may have passed over what it said since."""

    # ── starting, and hearing of ourselves ────────────────────────────────────────────────────────

    def start(self, tables: Tables) -> None:
        """Compare the database with the high-water mark, and remember if it was restored."""
        nonce = tables.meta.get("store_nonce")
        if nonce is None:
            nonce = self._world.random_bytes(8)
            tables.meta.set("store_nonce", nonce)
        own = self.own_head(tables)
        mark = highwater.load(self._folder.high_water)
        if mark is None:
            self._restored = own is not None
        else:
            self._restored = mark.store_nonce != nonce or own is None or own.version < mark.version
        if self._restored:
            self._begin_store_anew(tables)
        held = tables.catalogue.held(self.stream)
        if own is not None and (held is None or held.head != own.signed.to_bytes()):
            # A later word than the state that we hold: we had begun to take it back.
            self.phase, self.target = Phase.BEHIND, own
        halted = tables.meta.get("halted")
        if halted is not None:
            self.phase, self.why = Phase.HALTED, halted.decode()
        if own is not None and not self._restored and self.phase is Phase.WAITING:
            # A crash may have come between the commit and the mark; peers are served from the store.
            self.mark_announced(tables, own)

    def remembered(self) -> tuple[Phase, str, Head | None, set[bytes], bool, bool]:
        """Return a copy of what is held in memory, for `put_back` when a transaction fails."""
        return self.phase, self.why, self.target, set(self._answered), self._overridden, self._restored

    def put_back(self, before: tuple[Phase, str, Head | None, set[bytes], bool, bool]) -> None:
        """Stand where we stood before a transaction that failed: an epoch that was not kept was not begun."""
        self.phase, self.why, self.target, self._answered, self._overridden, self._restored = before

    def own_head(self, tables: Tables) -> Head | None:
        """Return our latest own head, announced or not."""
        data = tables.items.in_slot(ItemKind.HEAD, self.stream.member_id + bytes([self.stream.number]))
        return None if data is None else heads.read(data)

    def answered(self, tables: Tables, member_id: bytes, membership: Membership | None) -> None:
        """Note that a peer has told us what it knows of our stream; it may be safe to publish now."""
        self._answered.add(member_id)
        self.settle(tables, membership)

    def override(self, tables: Tables, membership: Membership | None) -> None:
        """The owner says: publish, although too few peers have answered or a later state cannot be had."""
        self._overridden = True
        if self.phase is Phase.BEHIND:
            self.phase, self.target, self._restored = Phase.WAITING, None, True
        self.settle(tables, membership)

    def needed(self, tables: Tables, membership: Membership | None) -> int:
        """Return how many peers must have answered since the start.

        Two nodes of which neither says an address never meet: whoever dials out only waits for those that it can dial.
        """
        if membership is None:
            return 0
        me = self.stream.member_id
        others = {one for one in membership.roster.tellers if one != me}
        if len(others) > 1:
            contacts = map(statements.read, (one.data for one in tables.items.on_topic(statements.CONTACT.encode())))
            unsaid = {one.member_id for one in contacts if not one.fields["endpoints"]}
            others -= unsaid if me in unsaid else set()
        return min(NEEDED_ANSWERS, len(others))

    @property
    def answers(self) -> int:
        """How many peers have answered since the start."""
        return len(self._answered)

    def settle(self, tables: Tables, membership: Membership | None) -> None:
        """Move on to READY when nothing speaks against it any more."""
        if self.phase is not Phase.WAITING or membership is None:
            return
        if not membership.roster.is_member(self.stream.member_id):
            return
        if not self._overridden and len(self._answered) < self.needed(tables, membership):
            return
        if self._restored:
            self._next_epoch(tables)
            self._begin_store_anew(tables)
            self._restored = False
            self.say_again = True
        self.phase, self.why = Phase.READY, ""

    def heard_own(self, tables: Tables, head: Head) -> None:
        """A head of our own stream has come in that we have not made. It has been verified.

        At the start that is the mark of a restored backup: its state is taken back. While we publish, it
        is a twin: we halt, and say so.
        """
        own = self.own_head(tables)
        if own is not None and head.version < own.version:
            return
        self._remember_target(head)
        if self.phase is Phase.READY:
            self.halt(tables, f"another node published for this member (instance {head.instance.hex()})")
        elif self.phase is Phase.WAITING:
            self.phase = Phase.BEHIND

    def halt(self, tables: Tables, why: str) -> None:
        """Stop publishing until the owner decides. Edits go on waiting."""
        self.phase, self.why = Phase.HALTED, why
        tables.meta.set("halted", why.encode())

    def takeover(self, tables: Tables, membership: Membership | None) -> None:
        """The owner says: this node is the one. Goes on at the next epoch, after taking back later words."""
        tables.meta.set("halted", None)
        # A new life of this node: what the other one said under the old instance is told apart from it.
        self.instance = self._world.random_bytes(8)
        self._restored = self._overridden = True
        self.why = ""
        self.phase = Phase.WAITING
        if self.target is not None:
            self.phase = Phase.BEHIND
        self.settle(tables, membership)

    def caught_up(self, tables: Tables, membership: Membership | None) -> None:
        """A state of the own stream has been taken back; go on after it, at the next epoch, if it was the last."""
        held = tables.catalogue.held(self.stream)
        if self.phase is not Phase.BEHIND or held is None or held.head is None or self.target is None:
            return
        if heads.read(held.head).version < self.target.version:
            return
        self.target = None
        self._restored = True
        self.phase = Phase.WAITING
        self.settle(tables, membership)

    # ── publishing ────────────────────────────────────────────────────────────────────────────────

    def publish(self, tables: Tables, coop_id: bytes) -> Published | None:
        """Lay everything that waits onto the own state and sign it; None when nothing changes.

        The caller has seen that the phase is READY, announces the head after `mark_announced`, and feeds
        the read models.
        """
        held = tables.catalogue.open_stream(self.stream)
        before = self.own_head(tables)
        fresh_epoch = tables.meta.get_int("own_epoch")
        if not tables.pending.count() and (before is None or before.version.epoch >= fresh_epoch):
            return None
        ops: dict[str, dict[bytes, bytes | None]] = {}
        changed: dict[str, Changed] = {}
        few = tables.pending.count() <= MAX_OPS
        for collection, changes in tables.pending.parts():
            held, now_changed = tables.catalogue.apply(held, {collection: changes})
            for name, one in now_changed.items():
                changed.setdefault(name, Changed()).add(one)
            if few:
                ops.setdefault(collection, {}).update(changes)
        tables.pending.clear()
        if before is not None and before.version.epoch >= fresh_epoch and held.root == before.state_root:
            return None
        return self._sign(tables, held, before, ops if few else {}, changed, coop_id)

    def mark_announced(self, tables: Tables, head: Head) -> None:
        """Write the high-water mark if it does not say so yet: from here on the head may leave."""
        if self._marked == head.version:
            return
        nonce = tables.meta.get("store_nonce")
        assert nonce is not None
        highwater.save(self._folder.high_water, HighWater(nonce, self.instance, head.version))
        self._marked = head.version

    def epoch(self, tables: Tables) -> int:
        """Return the epoch that own statements are signed with."""
        own = self.own_head(tables)
        own_epoch = 0 if own is None else own.version.epoch
        return max(own_epoch, tables.meta.get_int("own_epoch"), self.keys.identity.current.epoch)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _sign(
        self,
        tables: Tables,
        held: Held,
        before: Head | None,
        ops: dict[str, dict[bytes, bytes | None]],
        changed: Mapping[str, Changed],
        coop_id: bytes,
    ) -> Published:
        now_us = self._world.now_us()
        if before is not None and before.version.rev > now_us + MAX_AHEAD_MS * 1000:
            # Our clock had run ahead: peers would park what comes after. A new epoch starts the revs anew.
            self._next_epoch(tables)
        version = heads.next_version(None if before is None else before.version, self.epoch(tables), now_us)
        bodies = chunks.write_ops(ops)
        summary = chunks.summarise_ops(bodies)
        bridges = (
            before is not None
            and before.version.epoch == version.epoch
            and 0 < summary.count <= MAX_OPS
            and summary.size <= MAX_OPS_BYTES
        )
        if not bridges:
            summary = OpsSummary(NO_HASH, 0, 0)
        since_rev = before.version.rev if bridges and before is not None else 0
        total = held.summaries.values()
        body = heads.body(
            stream=self.stream,
            version=version,
            instance=self.instance,
            prev=NO_HASH if before is None else before.head_id,
            state_root=held.root,
            record_count=sum(one.count for one in total),
            record_bytes=sum(one.size for one in total),
            since_rev=since_rev,
            ops_root=summary.root,
            ops_count=summary.count,
            ops_bytes=summary.size,
        )
        signed = signing.sign(heads.WHAT, coop_id, body, self.keys.signing_seed)
        head = heads.read(signed.to_bytes())
        if bridges:
            packed = encode([[name, deflate(raw)] for name, raw in sorted(bodies.items())])
            tables.catalogue.keep_ops(held, version.epoch, since_rev, version.rev, packed)
        tables.items.put(
            ItemKind.HEAD, head_slot(head), head.head_id, self.stream.member_id, signed.to_bytes(), self._world.now_ms()
        )
        seq = tables.catalogue.set_head(held, signed.to_bytes())
        # Before the commit: from then on readers give the head to whoever asks. A crash in between looks like
        # a restored database and costs an epoch, no more.
        self.mark_announced(tables, head)
        return Published(head, changed, seq)

    def _begin_store_anew(self, tables: Tables) -> None:
        """Take a new nonce: peers' cursors into this store, and ours into theirs, belong to another life of it."""
        tables.meta.set("store_nonce", self._world.random_bytes(8))
        tables.peers.forget_cursors()

    def _next_epoch(self, tables: Tables) -> None:
        tables.meta.set_int("own_epoch", self.epoch(tables) + 1)

    def _remember_target(self, head: Head) -> None:
        if self.target is None or head.version > self.target.version:
            self.target = head
