"""Answers to buyers: from this node's store or, where it does not keep what is asked for, from another node's.

Never sends a buyer elsewhere, and never shows what has not been proved. The thing to understand: a node that
keeps everything answers all by itself; a partial one passes on whatever touches a catalogue that it does not
keep, and says so with each answer. What is shown then is what the other node has found, not both together.
"""

from __future__ import annotations

from coopnode.catalog.proving import Prover
from coopnode.catalog.shelf import Json, Memory, Shelf
from coopnode.errors import NodeError, NotFound
from coopnode.gossip.forwarding import Passed
from coopnode.node import Node
from coopnode.store import Tables
from protocol import proved, records
from protocol.errors import Refused
from protocol.scope import Replica

KEEPS = {Replica.SCOPED: "only a part of the catalogues", Replica.LIGHT: "no other member's catalogue"}
NOBODY = "No node that keeps it could be reached now. Try again later."


async def search(node: Node, memory: Memory, text: str, limit: int, offset: int) -> Json | None:
    """Search at another node; None where this one can answer by itself, or nobody else could."""
    if node.core.scope.replica is Replica.FULL or not await node.read(_elsewhere, node, memory):
        return None
    passed = await node.forwarder.search(text, limit, offset)
    if passed is None:
        return None

    def make(tables: Tables) -> Json:
        shelf = Shelf(tables, node.core, memory)
        return {
            "total": passed.total,
            "limit": limit,
            "offset": offset,
            "listings": _shown(shelf, passed),
            "coverage": shelf.coverage(),
            **_origin(node, shelf, passed, "these results come", "each record"),
        }

    return await node.read(make)


async def listing(node: Node, memory: Memory, member_id: bytes, sku: str) -> Json | None:
    """Return one listing from another node; None where this one keeps it, or nobody else could answer.

    Raises NotFound where the author's signed catalogue has been shown not to have it.
    """
    if not await _is_elsewhere(node, memory, member_id, sku):
        return None
    passed = await node.forwarder.listing(member_id, sku)
    if passed is None:
        return None

    def make(tables: Tables) -> Json:
        shelf = Shelf(tables, node.core, memory)
        found = _shown(shelf, passed)
        if not found:
            raise NotFound(
                f"This member has no such article: the node of {shelf.name(passed.member_id)} has proved it "
                "by the member's signed catalogue."
            )
        return found[0] | _origin(node, shelf, passed, "this article comes", "it")

    return await node.read(make)


async def proved_search(
    node: Node, memory: Memory, text: str, limit: int, offset: int, *, passes_on: bool = True
) -> bytes:
    """Search, here or elsewhere, and return a bundle of records with their proofs."""
    if passes_on and node.core.scope.replica is not Replica.FULL and await node.read(_elsewhere, node, memory):
        passed = await node.forwarder.search(text, limit, offset)
        if passed is not None:
            return _bundle(passed)

    def make(tables: Tables) -> bytes:
        found = node.follower.search(text, limit, offset)
        return proved.write(found.total, Prover(tables).listings((one.member_id, one.sku) for one in found.hits))

    return await node.read(make)


async def proved_listing(node: Node, memory: Memory, member_id: bytes, sku: str, *, passes_on: bool = True) -> bytes:
    """Return the bundle of one listing, here or elsewhere; it may prove that there is none. Raises NotFound."""
    if passes_on and await _is_elsewhere(node, memory, member_id, sku):
        passed = await node.forwarder.listing(member_id, sku)
        if passed is None:
            raise _unreachable(node)
        return _bundle(passed)
    rows = await node.read(lambda tables: Prover(tables).listing(member_id, sku))
    if rows is None:
        raise NotFound("Nothing is kept here that could prove whether this member has such an article.")
    return proved.write(1, rows)


def results(node: Node, shelf: Shelf, text: str, limit: int, offset: int) -> Json:
    """Search what is kept here."""
    found = shelf.results(node.follower.search(text, limit, offset), limit, offset)
    note = ""
    if found["coverage"]["not_kept"]:
        note = f"The node of {node.core.config.name} keeps {KEEPS[node.core.scope.replica]}; this is what is here."
    return {**found, "passed_on": None, "note": note}


def found_listing(shelf: Shelf, member_id: bytes, sku: str) -> Json:
    """Return a listing that is kept here. Raises NotFound, or NodeError where it may be elsewhere."""
    found = shelf.listing(member_id, sku)
    if shelf.lacks(member_id):
        if found is None:
            raise NodeError(f"This member's catalogue is not kept here. {NOBODY}", status=503, problem="elsewhere")
        # Else what is not kept, such as the stock, would look as if the seller had not told it.
        return found | {"passed_on": None, "note": "Only a part of this member's catalogue is kept here: this is it."}
    if found is None:
        raise NotFound("This member has no such article, as far as is known here.")
    return found


# ── inside ────────────────────────────────────────────────────────────────────────────────────────


def _elsewhere(tables: Tables, node: Node, memory: Memory) -> bool:
    """Whether any member's listings are not kept here."""
    return bool(Shelf(tables, node.core, memory).coverage()["not_kept"])


async def _is_elsewhere(node: Node, memory: Memory, member_id: bytes, sku: str) -> bool:
    """Whether a listing that can exist is one that this node does not keep."""
    held = node.core.membership
    if node.core.scope.replica is Replica.FULL or held is None or not held.roster.is_member(member_id):
        return False
    try:
        records.listing_key(sku)
    except Refused:
        return False
    return await node.read(lambda tables: Shelf(tables, node.core, memory).lacks(member_id))


def _unreachable(node: Node) -> NodeError:
    keeps = KEEPS[node.core.scope.replica]
    return NodeError(f"The node of {node.core.config.name} keeps {keeps}. {NOBODY}", status=503, problem="elsewhere")


def _shown(shelf: Shelf, passed: Passed) -> list[Json]:
    found = []
    for one in passed.found:
        value = one.listing.value
        shown = None if value is None else shelf.of_elsewhere(one.listing.head, one.sku, value, one.stock.value)
        if shown is not None:
            found.append(shown | {"proved": True, "behind": one.behind})
    return found


def _origin(node: Node, shelf: Shelf, passed: Passed, they_come: str, each: str) -> Json:
    """Say where an answer comes from, and what that means."""
    name = shelf.name(passed.member_id)
    note = (
        f"The node of {node.core.config.name} keeps {KEEPS[node.core.scope.replica]}; {they_come} from the node of "
        f"{name}, and {each} was checked here against what its seller has signed."
    )
    if they_come.startswith("these"):
        note += " That nothing is missing cannot be proved."
    if passed.behind:
        note += f" {passed.behind} of what is shown is older than the seller's latest word."
    if passed.refusals:
        note += f" {len(passed.refusals)} could not be proved and is left out."
    return {
        "passed_on": {
            "member": passed.member_id.hex(),
            "name": name,
            "dropped": len(passed.refusals),
            "behind": passed.behind,
        },
        "note": note,
    }


def _bundle(passed: Passed) -> bytes:
    return proved.write(passed.total, [row for one in passed.found for row in (one.listing, one.stock)])
