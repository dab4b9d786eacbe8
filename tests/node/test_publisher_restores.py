"""No sequence of edits, crashes, restores and clock jumps makes a member use one version twice.

A state machine over copies of one folder. The other member remembers what was said, as peers do.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coopnode.publisher import Phase
from coopnode.store import Tables
from protocol import head as heads
from protocol.head import Version
from protocol.items import ItemKind
from protocol.records import LISTING
from tests.node.scenes import Net


class Restores(RuleBasedStateMachine):
    """anna's folder is copied, restored and crashed; bert only listens."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="restores-"))
        self.net = Net(self.path)
        self.used: dict[Version, bytes] = {}
        self.backups = 0
        self.edits = 0
        self.waiting: dict[str, str] = {}
        """Edits that were acknowledged and that no restore can have undone."""

    def teardown(self) -> None:
        self.net.close()
        shutil.rmtree(self.path)

    @initialize()
    def begin(self) -> None:
        self.net.found("anna", "bert")

    @rule(sku=st.sampled_from("abcd"))
    def edit(self, sku: str) -> None:
        self.edits += 1
        self.net.put("anna", {sku: f"edit {self.edits}"})
        self.waiting[sku] = f"edit {self.edits}"

    @rule(sku=st.sampled_from("abcd"))
    def crash_before_the_commit(self, sku: str) -> None:
        core = self.net["anna"].core

        def die(tables: Tables) -> None:
            tables.pending.add([(LISTING, sku.encode(), b"\x81\xa5title\xa4lost")])
            core.publish(tables)
            raise KeyboardInterrupt

        try:
            core.write(die)
        except KeyboardInterrupt:
            self.restart()

    @rule()
    def restart(self) -> None:
        self.net.stop("anna")
        self.net.start("anna")

    @rule()
    def meet(self) -> None:
        self.net.meet("anna")

    @rule(seconds=st.integers(-100, 200))
    def turn_the_clock(self, seconds: int) -> None:
        self.net.clock.tick(seconds / 60)

    @precondition(lambda self: self.backups < 3)
    @rule()
    def back_up(self) -> None:
        self.net.save("anna", f"backup {self.backups}")
        self.backups += 1
        self.net.start("anna")

    @precondition(lambda self: self.backups)
    @rule(number=st.integers(0, 2), whole=st.booleans(), mark_too=st.booleans())
    def restore(self, number: int, whole: bool, mark_too: bool) -> None:
        files = None if whole else ["node.db", "high-water.json"] if mark_too else ["node.db"]
        self.net.stop("anna")
        self.net.restore("anna", f"backup {number % self.backups}", only=files)
        self.net.start("anna")
        self.waiting.clear()

    @rule()
    def lose_the_mark(self) -> None:
        self.net.stop("anna")
        self.net.folder("anna").high_water.unlink(missing_ok=True)
        self.net.start("anna")

    @invariant()
    def no_version_is_used_twice(self) -> None:
        """Of all heads that anybody could ever have read."""
        for shop in self.net.shops.values():
            items = shop.core.store.read(lambda tables: tables.items.of_kind(ItemKind.HEAD))
            for head in (heads.read(item.data) for item in items):
                if head.stream.member_id == self.net["anna"].member_id:
                    assert self.used.setdefault(head.version, head.head_id) == head.head_id
            assert shop.core.store.read(lambda tables: tables.items.evidence()) == []

    @invariant()
    def nobody_is_left_halted_or_behind_once_they_have_met(self) -> None:
        if not self.net.shops:
            return
        anna, bert = self.net["anna"], self.net["bert"]
        if anna.phase is Phase.READY:
            assert bert.titles(anna) == anna.titles()
            assert {sku: anna.titles().get(sku) for sku in self.waiting} == self.waiting
        else:
            assert anna.phase in (Phase.WAITING, Phase.BEHIND)


class MetAtTheEnd(Restores):
    """The same; and whatever has happened, a meeting brings the member back."""

    def teardown(self) -> None:
        if "anna" in self.net.shops:
            self.net.meet("anna")
            assert self.net["anna"].phase is Phase.READY
            self.edit("a")
            self.nobody_is_left_halted_or_behind_once_they_have_met()
            self.no_version_is_used_twice()
        super().teardown()


TestRestores = MetAtTheEnd.TestCase
TestRestores.settings = settings(
    max_examples=25,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
