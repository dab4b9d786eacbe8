"""What this node is, without a network: store, keys, rules, and what a member can do with them.

Synchronous. The command line uses it directly when no node runs; a running node drives it from its writer
thread and sends what comes out as `News`. Never opens a socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from coopnode import config as configs
from coopnode import keystore, membership
from coopnode.clerk import Clerk
from coopnode.config import Config
from coopnode.errors import BadInput, NodeError
from coopnode.folder import Folder, Lock
from coopnode.ingest import PARKED, Fate, Ingest, Outcome, head_slot
from coopnode.membership import Membership
from coopnode.publisher import Phase, Published, Publisher
from coopnode.scope import Scope
from coopnode.scoping import Scoping
from coopnode.store import Store, Tables, open_store
from coopnode.world import World
from protocol import identity as identities
from protocol import invitation, minutes, polls, records, statements
from protocol.errors import Refused
from protocol.head import Head
from protocol.invitation import Invitation
from protocol.items import Item, ItemKind
from protocol.limits import MAX_OPS
from protocol.quota import Account, Cost, Quota, Tier, head_cost, quota_of, tier_of
from protocol.records import PROFILE, PROFILE_KEY
from protocol.roster import Roster
from protocol.scope import Replica
from protocol.statements import Statement

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_POLICY: Mapping[str, int | str] = {"fee_bp": 0}
DAY_MS = 24 * 3600 * 1000


@dataclass(slots=True)
class News:
    """What a transaction leaves to be done: sent, pulled and indexed."""

    items: list[Item] = field(default_factory=list)
    """Others' words that are new here."""
    said: list[Item] = field(default_factory=list)
    """Our own words: they go to all links, also to the one whose news made us speak."""
    heads: list[Head] = field(default_factory=list)
    """Others' new heads, whose bodies may be wanted. Also our own, when it must be taken back."""
    published: list[Published] = field(default_factory=list)
    roster_changed: bool = False

    def add(self, other: News) -> None:
        """Take over what *other* says."""
        self.items.extend(other.items)
        self.said.extend(other.said)
        self.heads.extend(other.heads)
        self.published.extend(other.published)
        self.roster_changed = self.roster_changed or other.roster_changed


class Core:
    """An opened data folder."""

    def __init__(self, folder: Folder, keys: keystore.Keys, config: Config, world: World, store: Store) -> None:
        self.folder = folder
        self.keys = keys
        self.config = config
        self.world = world
        self.store = store
        self.member_id = keys.identity.member_id
        self.scoping = Scoping(self.member_id, config)
        self.ingest = Ingest(self.member_id, world.now_ms)
        self.publisher = Publisher(folder, keys, world)
        self.clerk = Clerk(self.ingest, self.publisher, world)
        self.publish_due_ms: int | None = None
        """When own edits may be published that are over our quota, by the steady clock."""
        self.over = ""
        """Which bucket they wait for: a field of `protocol.quota.Cost`."""
        self._quotas: tuple[Roster | None, dict[Tier, Quota]] = (None, {})
        self._account: Account | None = None
        store.write(self._start)

    def _start(self, tables: Tables) -> None:
        self.ingest.membership = membership.load(tables)
        self.publisher.start(tables)
        self._take_own_log(tables)
        if tables.meta.get(PARKED) is not None:
            # What was parked went with the process: hear everybody out again from the beginning.
            tables.meta.set(PARKED, None)
            tables.peers.forget_cursors()
        tables.pending.begin_draft()
        self.settle_scope(tables)

    @property
    def scope(self) -> Scope:
        """What is kept of others' catalogues."""
        return self.scoping.scope

    def settle_scope(self, tables: Tables) -> bool:
        """Read the settings beside roster and contacts: who is meant? Return whether that has changed."""
        return self.scoping.settle(tables, self.membership)

    def _take_own_log(self, tables: Tables) -> None:
        """Take own identity statements that the key file has and the store has not: a crash came between."""
        if self.membership is None:
            return
        for data in self.keys.log:
            if self.ingest.take(tables, ItemKind.IDENTITY, data).fate is Fate.ACCEPTED:
                tables.meta.set_int("own_epoch", identities.read(data).epoch)

    def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in one transaction; what is remembered beside the store goes back with it if it fails."""
        known, standing = self.ingest.remembered(), self.publisher.remembered()
        try:
            return self.store.write(function, *args, **kwargs)
        except BaseException:
            self.ingest.put_back(known)
            self.publisher.put_back(standing)
            raise

    @property
    def membership(self) -> Membership | None:
        """The co-op as it is known now; None before founding or joining one."""
        return self.ingest.membership

    def need_membership(self) -> Membership:
        """Return the membership, or say what to do first."""
        if self.ingest.membership is None:
            raise NodeError(
                "This node belongs to no co-op yet. Found one with `coopnode coop found NAME`, "
                "or join one with `coopnode coop join INVITATION`."
            )
        return self.ingest.membership

    @property
    def is_member(self) -> bool:
        """Whether this member is on the roster."""
        held = self.ingest.membership
        return held is not None and held.roster.is_member(self.member_id)

    def quota(self, member_id: bytes) -> Quota:
        """Return how much an author may say by the standing policy."""
        roster = self.need_membership().roster
        of, known = self._quotas
        if of is not roster:
            known = {tier: quota_of(roster.policy, tier) for tier in Tier}
            self._quotas = roster, known
        return known[tier_of(roster.members.get(member_id))]

    # ── what comes in ─────────────────────────────────────────────────────────────────────────────

    def take(self, tables: Tables, items: Sequence[tuple[ItemKind, bytes]]) -> tuple[list[Outcome], News]:
        """Judge and keep items of others, and do what follows from them."""
        outcomes = [self.ingest.take(tables, kind, data) for kind, data in items]
        news = News()
        self._follow(tables, outcomes, news)
        news.add(self.look(tables))
        return outcomes, news

    def adopt_pages(
        self, tables: Tables, pages: Iterable[bytes], identity_log: Iterable[bytes]
    ) -> tuple[News, Refused | None]:
        """Take official pages, and identity statements that may be needed to check them.

        Stops at the first page that is not right and returns why; those before it stay.
        """
        news, wrong = News(), None
        for data in identity_log:
            self.ingest.take(tables, ItemKind.IDENTITY, data)
        try:
            for data in pages:
                news.roster_changed = self.clerk.adopt(tables, data) or news.roster_changed
        except Refused as refused:
            wrong = refused
        news.add(self.look(tables))
        return news, wrong

    def look(self, tables: Tables) -> News:
        """Do what is due: the minute book, what was parked, what waits to be published."""
        news = News()
        while True:
            done = self.clerk.look(tables)
            news.said.extend(done.say)
            news.roster_changed = news.roster_changed or done.pages > 0
            self._follow(tables, self.ingest.take_parked(tables), news)
            if not done.pages:
                break
        self.publisher.settle(tables, self.membership)
        if self.publisher.say_again:
            self.publisher.say_again = False
            news.said.extend(self._own_statements(tables))
        news.add(self.publish(tables))
        return news

    def _own_statements(self, tables: Tables) -> list[Item]:
        own = [statements.read(item.data) for item in tables.items.of_kind(ItemKind.STATEMENT, self.member_id)]
        return [Item(ItemKind.STATEMENT, one.slot, one.signed.to_bytes(), self.member_id) for one in own]

    def _follow(self, tables: Tables, outcomes: Iterable[Outcome], news: News) -> None:
        for outcome in outcomes:
            if outcome.fate is not Fate.ACCEPTED or outcome.item is None:
                continue
            news.items.append(outcome.item)
            if outcome.head is not None:
                if outcome.head.stream == self.publisher.stream:
                    self.publisher.heard_own(tables, outcome.head)
                    if self.publisher.phase is Phase.BEHIND:
                        news.heads.append(outcome.head)
                else:
                    news.heads.append(outcome.head)

    # ── publishing ────────────────────────────────────────────────────────────────────────────────

    def publish(self, tables: Tables) -> News:
        """Publish what waits, if it is safe now."""
        news = News()
        self.publish_due_ms = None
        if self.publisher.phase is not Phase.READY or self.membership is None:
            return news
        if self.publisher.own_head(tables) is None and not tables.pending.get(PROFILE, PROFILE_KEY)[0]:
            # The first word of every member is its name: then "nothing heard" means that something is missing.
            profile = records.write(PROFILE, PROFILE_KEY, {"name": self.config.name})
            tables.pending.add([(PROFILE, PROFILE_KEY, profile)])
        if self._is_over_quota(tables):
            return news  # what waits goes on waiting, durably: one head will cover it all
        published = self.publisher.publish(tables, self.membership.coop_id)
        if published is not None:
            self._own_account().spend(self.world.steady_ms(), head_cost(published.head))
            news.published.append(published)
            slot = head_slot(published.head)
            news.said.append(Item(ItemKind.HEAD, slot, published.head.signed.to_bytes(), self.member_id))
        return news

    def _own_account(self) -> Account:
        now_ms, quota = self.world.steady_ms(), self.quota(self.member_id)
        if self._account is None:
            self._account = Account(quota, now_ms)
        self._account.change(quota, now_ms)
        return self._account

    def _is_over_quota(self, tables: Tables) -> bool:
        """Whether the next own head must wait: the others would let it wait, and pass over those in between."""
        count = tables.pending.count()
        if not count:
            return False
        before = self.publisher.own_head(tables)
        size = 0 if before is None else before.record_bytes
        cost = Cost(heads=1, ops=count) if count <= MAX_OPS else Cost(heads=1, bytes=size)
        now_ms, account = self.world.steady_ms(), self._own_account()
        wait_ms = account.wait_ms(now_ms, cost)
        if wait_ms:
            self.publish_due_ms, self.over = now_ms + wait_ms, account.tightest(now_ms, cost)
        return wait_ms > 0

    def announced(self, news: News) -> None:
        """Write the high-water mark for own heads in *news*: only now may they be sent."""
        for published in news.published:
            self.store.read(self.publisher.mark_announced, published.head)

    # ── founding, inviting, joining ───────────────────────────────────────────────────────────────

    def found(self, tables: Tables, name: str, policy: Mapping[str, int | str] | None = None) -> News:
        """Found a co-op with this member as its only founder."""
        if self.membership is not None:
            raise NodeError(f"This node belongs to the co-op '{self.membership.roster.name}' already.")
        identity = self.keys.identity
        body = minutes.genesis_body(
            name=name,
            founders=[self.member_id],
            time_ms=self.world.now_ms(),
            nonce=self.world.random_bytes(16),
            policy={**DEFAULT_POLICY, **(policy or {})},
        )
        bundle = minutes.genesis_bundle(
            body,
            [minutes.sign_genesis(body, self.keys.signing_seed)],
            [one.signed.to_bytes() for one in identity.log],
        )
        try:
            self.adopt_genesis(tables, bundle, hashlib.sha256(body).digest())
        except Refused as refused:
            raise BadInput(f"The co-op cannot be founded: {refused.detail}.") from refused
        return self.look(tables)

    def adopt_genesis(self, tables: Tables, bundle: bytes, coop_id: bytes) -> None:
        """Take a charter that belongs to *coop_id*, which comes from an invitation or from ourselves."""
        genesis = minutes.read_genesis(bundle, coop_id)
        tables.meta.set("coop_id", coop_id)
        tables.book.append(0, coop_id, bundle)
        self.ingest.membership = membership.begin(genesis)
        for founder in genesis.founders:
            self.ingest.keep_identity(tables, founder)

    def invite(self, tables: Tables, uses: int, days: int, endpoints: Sequence[str]) -> tuple[str, News]:
        """Write an invitation; return its text."""
        held = self.need_membership()
        self._need_member()
        item = self.clerk.say(
            tables,
            statements.INVITATION,
            {
                "nonce": self.world.random_bytes(16),
                "until_ms": self.world.now_ms() + days * DAY_MS,
                "uses": uses,
            },
        )
        text = invitation.to_text(Invitation(held.coop_id, statements.read(item.data), tuple(endpoints)))
        return text, News(said=[item])

    def application(self, tables: Tables, invited: Invitation) -> bytes:
        """Sign our application to the co-op of an invitation, and remember it until we are admitted."""
        statement = statements.write(
            statements.APPLICATION,
            member_id=self.member_id,
            epoch=self.publisher.epoch(tables),
            revision=self.world.now_us(),
            coop_id=invited.coop_id,
            seed=self.keys.signing_seed,
            fields={
                "invitation": invited.statement.statement_id,
                "name": self.config.name,
                "log": list(self.keys.log),
            },
        )
        tables.meta.set("invitation", invitation.to_text(invited).encode())
        for endpoint in invited.endpoints:
            tables.peers.add_address(endpoint, None, "invitation")
        return statement.signed.to_bytes()

    # ── statements ────────────────────────────────────────────────────────────────────────────────

    def say_contact(self, tables: Tables, endpoints: Sequence[str]) -> News:
        """Tell the members where this node is found, if that has changed."""
        if not self.is_member or self.publisher.phase is Phase.HALTED:
            return News()
        fields = {"name": self.config.name, "endpoints": list(endpoints), "relays": []}
        if self.scope.replica is not Replica.FULL:
            fields["replica"] = self.scope.replica.value
        for item in tables.items.of_kind(ItemKind.STATEMENT, self.member_id):
            statement = statements.read(item.data)
            if statement.kind == statements.CONTACT and statement.fields == fields:
                return News()
        return News(said=[self.clerk.say(tables, statements.CONTACT, fields)])

    def propose(self, tables: Tables, title: str, text: str, closes_in_ms: int, **rules: int) -> tuple[Statement, News]:
        """Propose a yes/no decision to all who are on the roster now."""
        held = self.need_membership()
        self._need_member()
        now_ms = self.world.now_ms()
        item = self._say_or_explain(
            tables,
            statements.PROPOSAL,
            {
                "title": title,
                "text": text,
                "method": "yes_no",
                "options": [],
                "page": held.roster.page_id,
                "opens_ms": now_ms,
                "closes_ms": now_ms + closes_in_ms,
                "quorum_bp": rules.get("quorum_bp", 0),
                "threshold_bp": rules.get("threshold_bp", 5_000),
            },
        )
        return statements.read(item.data), News(said=[item])

    def cast(self, tables: Tables, proposal_id: bytes, choice: str, why: str = "") -> tuple[Statement, News]:
        """Cast or change this member's ballot."""
        self.need_membership()
        self._need_member()
        proposal = self.proposal(tables, proposal_id)
        if proposal.fields["closes_ms"] <= self.world.now_ms():
            raise NodeError("This poll is closed.")
        fields: dict[str, Any] = {"proposal": proposal_id, "choice": choice}
        if why:
            fields["why"] = why
        item = self._say_or_explain(tables, statements.BALLOT, fields)
        return statements.read(item.data), News(said=[item])

    def proposal(self, tables: Tables, proposal_id: bytes) -> Statement:
        """Return a proposal by id. Raises NodeError when it is not known."""
        found = tables.items.by_id(proposal_id)
        if found is None or found.kind is not ItemKind.STATEMENT:
            raise NodeError("This proposal is not known here.", status=404, problem="not_found")
        statement = statements.read(found.data)
        if statement.kind != statements.PROPOSAL:
            raise NodeError("This is not a proposal.", status=404, problem="not_found")
        return statement

    def tally(self, tables: Tables, proposal: Statement) -> polls.Tally:
        """Count the ballots that came here in time: this node's own, provisional count."""
        held = self.need_membership()
        timely = [
            statements.read(item.data)
            for item in tables.items.on_topic(proposal.statement_id)
            if item.received_ms <= proposal.fields["closes_ms"]
        ]
        return polls.tally(proposal, timely, held.rosters[proposal.fields["page"]])

    def rotate(self, tables: Tables, new: keystore.Keys) -> News:
        """Go on with a new signing key, from the next epoch on. The key file has been written."""
        self.keys = new
        self.publisher.keys = new
        if self.membership is None:
            return News()
        outcome = self.ingest.take(tables, ItemKind.IDENTITY, new.log[-1])
        if outcome.item is None:
            raise NodeError(f"The new key was refused: {outcome.detail}.")
        tables.meta.set_int("own_epoch", identities.read(new.log[-1]).epoch)
        news = News(said=[outcome.item])
        news.add(self.look(tables))
        return news

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _need_member(self) -> None:
        if not self.is_member:
            raise NodeError("This node has not been admitted yet: all members must sign the page that admits it.")
        if self.publisher.phase is Phase.HALTED:
            raise NodeError(
                f"Publishing has stopped: {self.publisher.why}. Stop the other node, then run `coopnode takeover` here."
            )

    def _say_or_explain(self, tables: Tables, kind: str, fields: dict[str, Any]) -> Item:
        try:
            return self.clerk.say(tables, kind, fields)
        except Refused as refused:
            sentence = f"This {kind} cannot be made: {refused.detail}."
            raise BadInput(sentence, problem=refused.reason.value) from refused


def open_core(folder: Folder, world: World, passphrase: str | None) -> tuple[Core, Lock]:
    """Open a data folder for this process alone. Raises NodeError or StoreError with a sentence."""
    folder.check_exists()
    config = configs.load(folder.config)
    keys = keystore.load(folder.keys, passphrase)
    lock = folder.lock()
    try:
        return Core(folder, keys, config, world, open_store(folder.database)), lock
    except BaseException:
        lock.release()
        raise
