"""Members with real data folders and a hand-driven clock, and a network that is a list in memory.

Nothing here throws dice or looks at the time: every key comes from SHA-256 of a name and a count.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from hypothesis import HealthCheck, settings

from coopnode import config as configs
from coopnode import keystore
from coopnode.config import Config
from coopnode.core import Core, News, open_core
from coopnode.folder import Folder, Lock
from coopnode.gossip.answers import answer
from coopnode.ingest import Outcome
from coopnode.publisher import Phase
from coopnode.store import Tables
from coopnode.world import World
from protocol import head as heads
from protocol import invitation, messages, records, signing, statements
from protocol.head import NO_HASH, Head, Stream, Version
from protocol.items import Item, ItemKind
from protocol.messages import Answer, GetPages, Nodes, Pages, Question, Since
from protocol.pull import Walk
from protocol.records import LISTING
from protocol.statements import Statement

P = ParamSpec("P")
T = TypeVar("T")

QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""For every hypothesis test: the same examples each time, and no clock."""

BEGIN_US = 1_800_000_000_000_000
MINUTE_US = 60_000_000


@dataclass
class Clock:
    """Time that stands still until somebody moves it."""

    now_us: int = BEGIN_US

    def tick(self, minutes: float = 1 / 60) -> None:
        self.now_us += int(minutes * MINUTE_US)


def chance(name: str) -> Callable[[int], bytes]:
    """Return bytes that look random and are the same on every run."""
    count = 0

    def random_bytes(number: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{name} {count}".encode()).digest(number)

    return random_bytes


def world_of(clock: Clock, name: str) -> World:
    return World(
        now_ms=lambda: clock.now_us // 1_000,
        now_us=lambda: clock.now_us,
        steady_ms=lambda: clock.now_us // 1_000,
        random_bytes=chance(name),
        shuffle=sorted,
    )


def new_folder(path: Path, name: str, **settings_: Any) -> tuple[Folder, bytes]:
    """Set up a member's folder; return it and the recovery seed."""
    folder = Folder(path)
    folder.create()
    keys, recovery = keystore.create(chance(f"keys of {name}"))
    keystore.save(folder.keys, keys, None, chance(f"sealing of {name}"))
    configs.save(folder.config, Config(name=name, discovery=False, **settings_))
    return folder, recovery


@dataclass
class Shop:
    """One member's opened folder."""

    core: Core
    lock: Lock
    clock: Clock

    @property
    def member_id(self) -> bytes:
        return self.core.member_id

    @property
    def phase(self) -> Phase:
        return self.core.publisher.phase

    @property
    def stream(self) -> Stream:
        return self.core.publisher.stream

    @property
    def slot(self) -> int:
        return self.core.need_membership().roster.slot

    @property
    def own_head(self) -> Head | None:
        return self.core.store.read(self.core.publisher.own_head)

    @property
    def version(self) -> Version:
        head = self.own_head
        assert head is not None
        return head.version

    @property
    def frontier(self) -> bytes:
        return self.core.store.read(lambda tables: tables.items.frontier())

    def refusals(self) -> dict[str, int]:
        return self.core.store.read(lambda tables: tables.meta.refusals())

    def listing(self, author: Shop, sku: str) -> bytes | None:
        return self.core.store.read(lambda tables: tables.catalogue.get(author.stream, LISTING, sku.encode()))

    def titles(self, author: Shop | None = None) -> dict[str, str]:
        """All listings that we hold of *author*: sku -> title."""
        stream = (author or self).stream
        rows = self.core.store.read(lambda tables: dict(tables.catalogue.records(stream, LISTING)))
        return {key.decode(): records.read(LISTING, key, value)["title"] for key, value in sorted(rows.items())}

    def take(self, kind: ItemKind, *data: bytes) -> list[Outcome]:
        """Hand items in at the door and leave the news lying."""
        outcomes, _ = self.core.write(self.core.take, [(kind, one) for one in data])
        return outcomes

    def close(self) -> None:
        self.core.store.close()
        self.lock.release()


def open_shop(folder: Folder, clock: Clock, name: str) -> Shop:
    """Open a folder as a node does at its start. *name* differs for every run, or instances would not."""
    core, lock = open_core(folder, world_of(clock, name), None)
    return Shop(core, lock, clock)


def signed_head(author: Shop, version: Version, *, seed: bytes | None = None, **changes: Any) -> Head:
    """Sign a head in the name of *author* as another node could have done."""
    own: dict[str, Any] = {
        "stream": author.stream,
        "version": version,
        "instance": b"instance",
        "prev": NO_HASH,
        "state_root": bytes(32),
        "record_count": 0,
        "record_bytes": 0,
        **changes,
    }
    coop_id = author.core.need_membership().coop_id
    return heads.read(
        signing.sign(heads.WHAT, coop_id, heads.body(**own), seed or author.core.keys.signing_seed).to_bytes()
    )


def said(author: Shop, kind: str, *, epoch: int = 0, revision: int = 1, coop: bytes | None = None, **own: Any) -> bytes:
    """Sign a statement in the name of *author* without telling its node."""
    return statements.write(
        kind,
        member_id=author.member_id,
        epoch=epoch,
        revision=revision,
        coop_id=coop or author.core.need_membership().coop_id,
        seed=author.core.keys.signing_seed,
        fields=own,
    ).signed.to_bytes()


def contact(author: Shop, name: str, *, epoch: int = 0, revision: int = 1) -> bytes:
    return said(author, statements.CONTACT, epoch=epoch, revision=revision, name=name, endpoints=[], relays=[])


def spoilt(data: bytes) -> bytes:
    """Return a signed object whose signature is wrong by one bit."""
    return bytes([data[0] ^ 1]) + data[1:]


def listing(sku: str, title: str) -> tuple[str, bytes, bytes]:
    key = records.listing_key(sku)
    return LISTING, key, records.write(LISTING, key, {"title": title})


@dataclass
class Net:
    """A co-op whose members hear each other at once, unless they are away."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    shops: dict[str, Shop] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    sent: list[Item] = field(default_factory=list)
    """All that ever left a node, in order."""
    _queue: deque[tuple[str, list[Item]]] = field(default_factory=deque)
    _runs: int = 0

    def __getitem__(self, name: str) -> Shop:
        return self.shops[name]

    def close(self) -> None:
        for shop in self.shops.values():
            shop.close()

    @property
    def clock_chance(self) -> Callable[[int], bytes]:
        """Random bytes that nobody has had before."""
        self._runs += 1
        return chance(f"chance {self._runs}")

    # ── nodes ─────────────────────────────────────────────────────────────────────────────────────

    def folder(self, name: str) -> Folder:
        return Folder(self.path / name)

    def set_up(self, name: str) -> Shop:
        new_folder(self.path / name, name, port=8420)
        return self.start(name)

    def start(self, name: str, clock: Clock | None = None) -> Shop:
        """Start a node; it hears nobody until `meet`."""
        self._runs += 1
        shop = self.shops[name] = open_shop(self.folder(name), clock or self.clock, f"run {self._runs} of {name}")
        return shop

    def stop(self, name: str) -> None:
        self.shops.pop(name).close()

    def save(self, name: str, backup: str) -> None:
        """Copy a folder as a backup would; the node is stopped for it and started again after."""
        self.stop(name)
        shutil.copytree(self.path / name, self.path / backup)

    def restore(self, name: str, backup: str, *, only: Iterable[str] | None = None) -> None:
        """Put a backup in the place of a stopped node's folder, or only some files of it."""
        if only is None:
            shutil.rmtree(self.path / name)
            shutil.copytree(self.path / backup, self.path / name)
            return
        for file in only:
            for old in self.path.glob(f"{name}/{file}*"):
                old.unlink()
            for kept in self.path.glob(f"{backup}/{file}*"):
                shutil.copy2(kept, self.path / name / kept.name)

    def here(self) -> list[str]:
        return [name for name in self.shops if name not in self.away]

    # ── doing ─────────────────────────────────────────────────────────────────────────────────────

    def do(
        self,
        name: str,
        action: Callable[Concatenate[Tables, Core, P], tuple[T, News]],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> T:
        """Run an operation of `desk` on a node, and carry what comes of it until all is quiet."""
        core = self.shops[name].core
        result, news = core.write(action, core, *args, **kw)
        self.follow(name, news)
        self.run()
        return result

    def look(self, *names: str) -> None:
        for name in names or tuple(self.shops):
            core = self.shops[name].core
            self.follow(name, core.write(core.look))
        self.run()

    def put(self, name: str, rows: Mapping[str, str | None]) -> None:
        """Let listings wait (sku -> title, None to remove) and publish them if that is safe."""

        def put(tables: Tables, core: Core) -> tuple[None, News]:
            tables.pending.add(
                [(LISTING, sku.encode(), None) if title is None else listing(sku, title) for sku, title in rows.items()]
            )
            return None, core.publish(tables)

        self.do(name, put)

    def found(self, *names: str) -> None:
        """Found a co-op of these members: the first founds, the others join one after the other."""
        self.set_up(names[0])
        self.do(names[0], _found)
        for name in names[1:]:
            self.set_up(name)
            self.join(name, self.invite(names[0]))
            self.settle()
        for name in names:
            self.meet(name)

    def invite(self, name: str, uses: int = 1, days: int = 14) -> str:
        def invite(tables: Tables, core: Core) -> tuple[str, News]:
            return core.invite(tables, uses, days, [f"http://{name}.test"])

        return self.do(name, invite)

    def join(self, name: str, text: str, via: str | None = None) -> list[Outcome]:
        """Join as over HTTP, at the node *via* (default: the first that is here); return what its door said."""
        via = via or next(one for one in self.here() if one != name)
        invited = invitation.from_text(text)
        host, core = self.shops[via].core, self.shops[name].core
        bundle = host.store.read(lambda tables: tables.book.genesis())
        assert bundle is not None

        def begin(tables: Tables) -> bytes:
            core.adopt_genesis(tables, bundle, invited.coop_id)
            return core.application(tables, invited)

        application = core.write(begin)
        self.fetch_pages(name, via)
        return self.hand_in(via, None, ItemKind.STATEMENT, invited.statement.signed.to_bytes(), application)

    def settle(self) -> None:
        """Let everybody here fetch the pages of everybody else, as nodes do when they hear of a new one."""
        while True:
            slots = {name: self.shops[name].slot for name in self.here() if self.shops[name].core.membership}
            behind = [name for name, slot in slots.items() if slot < max(slots.values())]
            if not behind:
                return
            best = max(slots, key=lambda name: slots[name])
            for name in behind:
                self.fetch_pages(name, best)
                self.meet(name)
            self.run()

    def meet(self, name: str, *others: str) -> None:
        """Open links between one node and the others that are here, and exchange what a link exchanges."""
        for other in others or tuple(one for one in self.here() if one != name):
            if other in self.shops and other not in self.away:
                self._link(name, other)
                self.run()

    # ── carrying ──────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Carry what is queued until all is quiet."""
        while self._queue:
            source, items = self._queue.popleft()
            for name in self.here():
                core = self.shops[name].core
                if name == source or source in self.away or core.membership is None or not core.is_member:
                    continue
                _, news = core.write(core.take, [(item.kind, item.data) for item in items])
                self.follow(name, news)

    def follow(self, name: str, news: News) -> None:
        """Do what a running node does with news: mark, send, pull."""
        shop = self.shops[name]
        shop.core.announced(news)
        items = [*news.items, *news.said]
        if items and shop.core.is_member:
            self.sent.extend(items)
            self._queue.append((name, items))
        for head in news.heads:
            self.pull(name, head)
        if news.roster_changed:
            self.follow(name, shop.core.write(shop.core.look))

    def hand_in(self, name: str, source: str | None, kind: ItemKind, *data: bytes) -> list[Outcome]:
        core = self.shops[name].core
        outcomes, news = core.write(core.take, [(kind, one) for one in data])
        self.follow(name, news)
        self.run()
        return outcomes

    def ask(self, name: str, question: Question) -> Answer:
        return self.shops[name].core.store.read(answer, question)

    def fetch_pages(self, name: str, via: str) -> None:
        core = self.shops[name].core
        pages = self.ask(via, GetPages(0, core.need_membership().roster.slot))
        assert isinstance(pages, Pages)
        news, refused = core.write(core.adopt_pages, pages.pages, pages.identities)
        assert refused is None, refused
        self.follow(name, news)

    def pull(self, name: str, head: Head) -> bool:
        """Bring the state of *head* here from anybody who has it."""
        core = self.shops[name].core
        for other in self.here():
            if other == name:
                continue
            held = self.shops[other].core.store.read(lambda tables: tables.catalogue.held(head.stream))
            if held is None or held.head is None or heads.read(held.head).version < head.version:
                continue
            core.write(_walk, heads.read(held.head), partial(self.ask, other))
            self.follow(name, core.write(_go_on, core, head.stream))
            return True
        return False

    def _link(self, one: str, other: str) -> None:
        pairs = ((one, other), (other, one))
        for name, peer in pairs:
            if self.shops[name].slot < self.shops[peer].slot:
                self.fetch_pages(name, peer)
        for name, peer in pairs:
            core = self.shops[name].core
            theirs = self.shops[peer].core.store.read(_heads_of, core.member_id)
            self.hand_in(name, peer, ItemKind.HEAD, *theirs)
        for name, peer in pairs:
            core = self.shops[name].core
            asked = core.store.read(_since, self.shops[peer].member_id)
            news = self.ask(peer, asked)
            assert isinstance(news, messages.News)
            for kind in (ItemKind.IDENTITY, ItemKind.STATEMENT, ItemKind.HEAD):
                self.hand_in(name, peer, kind, *getattr(news, kind.value))
            core.write(_heard_out, self.shops[peer].member_id, news.store_nonce, news.cursor)
        for name, peer in pairs:
            core = self.shops[name].core
            core.write(core.publisher.answered, self.shops[peer].member_id, core.membership)
            self.look(name)


def _found(tables: Tables, core: Core) -> tuple[None, News]:
    return None, core.found(tables, "North")


def _heads_of(tables: Tables, member_id: bytes) -> list[bytes]:
    return [item.data for item in tables.items.of_kind(ItemKind.HEAD, member_id)]


def _since(tables: Tables, peer: bytes) -> Since:
    nonce, cursor = tables.peers.cursor(peer) or (bytes(8), 0)
    return Since(0, nonce, cursor, tables.items.frontier())


def _heard_out(tables: Tables, peer: bytes, nonce: bytes, cursor: int) -> None:
    tables.peers.set_cursor(peer, nonce, cursor)


def _walk(tables: Tables, head: Head, ask: Callable[[Question], Answer]) -> None:
    held = tables.catalogue.open_stream(head.stream)
    walk = Walk(head, held.summaries, lambda name, prefix: tables.catalogue.staged_or_held(held, name, prefix))
    while not walk.done:
        for question in walk.questions():
            nodes = ask(question)
            assert isinstance(nodes, Nodes)
            for change in walk.receive(question, nodes):
                tables.catalogue.stage(held, change)
                held = tables.catalogue.open_stream(head.stream)
    held, _ = tables.catalogue.commit_staged(held)
    assert held.root == head.state_root
    tables.catalogue.set_head(held, head.signed.to_bytes())


def _go_on(tables: Tables, core: Core, stream: Stream) -> News:
    if stream == core.publisher.stream:
        core.publisher.caught_up(tables, core.membership)
    return core.look(tables)


def statement_of(item: Item) -> Statement:
    return statements.read(item.data)


def own_versions(items: Sequence[Item], author: bytes) -> list[tuple[Version, bytes]]:
    """Return (version, id) of all heads of *author* among *items*, in order."""
    found = [heads.read(item.data) for item in items if item.kind is ItemKind.HEAD]
    return [(head.version, head.head_id) for head in found if head.stream.member_id == author]
