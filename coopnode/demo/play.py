"""The demo itself, step by step; every step ends by checking what it shows.

Never sleeps for a guessed time: it asks the nodes until what it waits for is so, or too much time has gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coopnode.cli import show
from coopnode.cli.importing import import_file
from coopnode.cli.searching import row
from coopnode.cli.setup import set_up
from coopnode.demo.processes import DemoFailed, ShopNode
from coopnode.demo.shops import SHOPS, stock_files

COOP = "Valley Traders"
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.05
POLL_MS = 4_000
"""How long the poll is open at least; longer on a machine where everything takes longer."""
QUESTION = "Shall we deliver to each other's customers on Fridays?"
CHOICES = ("yes", "yes", "no", "yes", "abstain")
SEARCH = "tyre"
ASKED = "mill"
"""The shop whose node is asked for what only others sell."""


@dataclass(slots=True)
class Play:
    """The five nodes, and how long each step took."""

    path: Path
    nodes: list[ShopNode] = field(default_factory=list)
    timings: list[tuple[str, float]] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)
    """The state root of each member, as its own node says it."""

    def run(self) -> None:
        """Play all steps. Raises DemoFailed with the reason when something does not hold."""
        began = time.monotonic()
        self._found()
        self._join()
        self._import()
        self._converge()
        self._search()
        self._vote()
        self.timings.append(("together", time.monotonic() - began))

    def stop(self) -> None:
        """Stop every process."""
        for node in self.nodes:
            node.tell_to_stop()
        for node in self.nodes:
            node.wait_until_stopped()

    def check_alive(self) -> None:
        """Raise DemoFailed when a node has ended."""
        for node in self.nodes:
            node.check_alive()

    # ── the steps ─────────────────────────────────────────────────────────────────────────────────

    def _found(self) -> None:
        with self._step("five nodes started"):
            for shop in SHOPS:
                node = ShopNode(shop, self.path / shop.folder)
                made = set_up(node.folder, None, name=shop.name, port=0)
                node.member = made["member"]
                self.nodes.append(node)
                node.start()
            self._on_all("nodes started", lambda node: node.find() is not None)

    def _join(self) -> None:
        with self._step("co-op founded, four joined with one invitation"):
            first, *others = self.nodes
            first.call("coop.found", name=COOP)
            invitation = first.call("coop.invite", uses=len(others))["invitation"]
            for node in others:
                node.call("coop.join", invitation=invitation)
            everybody = {node.member for node in self.nodes}
            self._on_all("rosters with all members", lambda node: set(self._roots_at(node)) == everybody)

    def _import(self) -> None:
        with self._step("stocks imported"):
            for node in self.nodes:
                for file in stock_files(node.shop):
                    client = node.find()
                    if client is None:
                        raise DemoFailed(f"The node of '{node.shop.name}' does not answer.")
                    report, _ = import_file(client, file, keep_going=True)
                    if not report.articles:
                        raise DemoFailed(f"{file.name} gave no article.")
                    left_out = f", {show.many(report.bad, 'bad row')} left out" if report.bad else ""
                    show.line(f"  {node.shop.name}: {show.many(report.articles, 'article')} of {file.name}{left_out}")

    def _converge(self) -> None:
        with self._step("the same catalogue on all five nodes"):
            self._on_all("catalogues published", self._has_published)
            self.roots = {node.member: self._roots_at(node)[node.member] for node in self.nodes}
            pairs = [(node, owner) for node in self.nodes for owner in self.roots]
            self._until("catalogues on all nodes", [partial(self._holds, *pair) for pair in pairs])
            self._on_all("nodes searchable", lambda node: node.call("status")["searchable"])
        rows = [(node.shop.name, node.url, self.roots[node.member][:16]) for node in self.nodes]
        show.table(("shop", "url", "state root, the same on all"), rows)

    def _search(self) -> None:
        asked = next(node for node in self.nodes if node.shop.folder == ASKED)
        with self._step("searched on a node that owns none of the goods"):
            found = asked.ask(f"/api/v1/listings?q={quote(SEARCH)}&limit=5")
            check(found["total"] > 0, f"a search for '{SEARCH}' at {asked.shop.name} finds nothing")
            for one in found["listings"]:
                own = asked.get(f"/api/v1/listings/{asked.member}/{quote(one['sku'], safe='')}")
                check(one["member"] != asked.member and own is None, f"{asked.shop.name} owns '{one['title']}' itself")
        show.line(f"  '{SEARCH}' asked at {asked.shop.name} ({asked.url}): {show.many(found['total'], 'listing')}")
        show.table(("title", ">price", ">stock", "said", "seller", "sku"), [row(one) for one in found["listings"]])

    def _vote(self) -> None:
        with self._step("poll opened, five ballots cast, closed"):
            answer = self.nodes[-1].call("vote.propose", title=QUESTION, closes_in_ms=self._poll_ms())
            path = f"/api/v1/proposals/{answer['id']}"
            self._on_all("nodes know the proposal", lambda node: node.get(path) is not None)
            for node, choice in zip(self.nodes, CHOICES, strict=True):
                node.call("vote.cast", proposal=answer["id"], choice=choice)
            self._on_all("polls closed", lambda node: not node.ask(path)["open"])
            expected = {name: CHOICES.count(name) for name in ("yes", "no", "abstain")}
            for node in self.nodes:
                counts = _counts(node.ask(path))
                check(counts == expected, f"{node.shop.name} counts {counts}, not {expected}")
        show.line(f"  {QUESTION}")
        columns = ("counted by", ">yes", ">no", ">abstain", "carried")
        show.table(columns, [_tally_row(node.shop.name, node.ask(path)) for node in self.nodes])

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _roots_at(self, node: ShopNode) -> dict[str, str]:
        """Return the state roots of all members that are complete at *node*; "" for the others."""
        found = node.get("/api/v1/members") or {"members": []}
        return {one["member"]: one["state_root"] if one["complete"] else "" for one in found["members"]}

    def _poll_ms(self) -> int:
        slowest_s = max(took for _, took in self.timings)
        return max(POLL_MS, int(1_000 * slowest_s))

    def _holds(self, node: ShopNode, owner: str) -> bool:
        return self._roots_at(node)[owner] == self.roots[owner]

    def _has_published(self, node: ShopNode) -> bool:
        return node.call("status")["waiting"] == 0 and bool(self._roots_at(node)[node.member])

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.timings.append((name, took))
        show.line(f"{took:6.2f} s  {name}")

    def _on_all(self, what: str, condition: Callable[[ShopNode], bool]) -> None:
        self._until(what, [partial(condition, node) for node in self.nodes])

    def _until(self, what: str, checks: Sequence[Callable[[], bool]]) -> None:
        """Wait until every one of *checks* has held."""
        deadline = time.monotonic() + WAIT_SECONDS
        left = list(checks)
        with show.progress(what, len(checks)) as steps:
            while True:
                still = [one for one in left if not one()]
                steps.advance(len(left) - len(still))
                left = still
                if not left:
                    return
                self.check_alive()
                done = f"{len(checks) - len(left)} of {len(checks)}"
                check(time.monotonic() < deadline, f"{what}: {done} after {WAIT_SECONDS:.0f} seconds")
                time.sleep(LOOK_SECONDS)


def check(holds: bool, otherwise: str) -> None:
    """Raise DemoFailed unless it holds."""
    if not holds:
        raise DemoFailed(f"The demo did not hold: {otherwise}.")


def _counts(proposal: dict[str, Any]) -> dict[str, int]:
    return {name: proposal["tally"][name] for name in ("yes", "no", "abstain")}


def _tally_row(name: str, proposal: dict[str, Any]) -> tuple[str, int, int, int, str]:
    tally = proposal["tally"]
    return name, tally["yes"], tally["no"], tally["abstain"], "yes" if tally["carried"] else "no"
