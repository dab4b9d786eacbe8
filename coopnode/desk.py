"""What a member asks of the own node, as named operations with plain JSON in and out.

The command line calls them directly on the data folder when no node runs, and over the local control
socket when one does: the same functions either way. An operation runs inside one transaction and returns
its answer and the `News` that a running node follows up on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coopnode import keystore, notes
from coopnode.catalog.shelf import Json, Shelf
from coopnode.connectors.money import format_milli, format_minor
from coopnode.core import Core, News
from coopnode.errors import BadInput, NodeError, NotFound
from coopnode.store import Tables
from protocol import records, statements
from protocol.errors import Refused
from protocol.head import Stream
from protocol.identity import MEMBER_ID_BYTES
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING, PROFILE, PROFILE_KEY, STOCK

Operation = Callable[..., tuple[Json, News]]
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class Named:
    """An operation by name; *reads* says that it changes nothing."""

    run: Operation
    reads: bool


OPERATIONS: dict[str, Named] = {}


def operation(name: str, *, reads: bool = False) -> Callable[[Operation], Operation]:
    """Register a function as an operation."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = Named(function, reads)
        return function

    return register


# ── the co-op ─────────────────────────────────────────────────────────────────────────────────────


@operation("coop.found")
def coop_found(tables: Tables, core: Core, *, name: str) -> tuple[Json, News]:
    """Found a co-op with this member as its first."""
    news = core.found(tables, name)
    held = core.need_membership()
    news.roster_changed = True
    return {"coop": held.roster.name, "coop_id": held.coop_id.hex(), "member": core.member_id.hex()}, news


@operation("coop.invite")
def coop_invite(
    tables: Tables, core: Core, *, uses: int = 1, days: int = 14, endpoints: list[str] | None = None
) -> tuple[Json, News]:
    """Write an invitation."""
    if not 1 <= days <= MAX_DAYS:
        raise BadInput(f"An invitation can hold for 1 to {MAX_DAYS} days.")
    if not 1 <= uses <= 100:
        raise BadInput("An invitation can be used 1 to 100 times.")
    urls = endpoints or own_endpoints(core)
    text, news = core.invite(tables, uses, days, urls)
    return {"invitation": text, "uses": uses, "days": days, "endpoints": urls}, news


@operation("coop.show", reads=True)
def coop_show(tables: Tables, core: Core) -> tuple[Json, News]:
    """Say which co-op this is, and who belongs to it."""
    held = core.need_membership()
    return {
        "coop": held.roster.name,
        "coop_id": held.coop_id.hex(),
        "page": held.roster.slot,
        "policy": dict(held.roster.policy),
        "members": Shelf(tables, core).members(),
    }, News()


# ── stock ─────────────────────────────────────────────────────────────────────────────────────────


@operation("stock.set")
def stock_set(
    tables: Tables, core: Core, *, sku: str, quantity_milli: int | None = None, available: bool | None = None
) -> tuple[Json, News]:
    """Say how many there are of an article."""
    key = _listing_key(sku)
    if _own_record(tables, core, LISTING, key) is None:
        raise NotFound(
            f"There is no article '{sku}' in your stock. `coopnode stock list` shows what there is; "
            "new articles come with `coopnode stock import` or `coopnode stock add`."
        )
    value: Json = {"said_ms": core.world.now_ms()}
    if available is None:
        value["quantity_milli"] = quantity_milli
    else:
        value["available"] = available
    news = _put(tables, core, [(STOCK, records.stock_key(sku), value)])
    return {
        "sku": sku,
        "quantity_milli": quantity_milli,
        "available": available,
        **notes.publication(tables, core),
    }, news


@operation("stock.add")
def stock_add(
    tables: Tables, core: Core, *, sku: str, listing: Json, quantity_milli: int | None = None
) -> tuple[Json, News]:
    """Add one article, or change what is said of it."""
    rows: list[tuple[str, bytes, Json]] = [(LISTING, _listing_key(sku), listing)]
    if quantity_milli is not None:
        stock = {"said_ms": core.world.now_ms(), "quantity_milli": quantity_milli}
        rows.append((STOCK, records.stock_key(sku), stock))
    news = _put(tables, core, rows)
    return {"sku": sku, **notes.publication(tables, core)}, news


@operation("stock.remove")
def stock_remove(tables: Tables, core: Core, *, sku: str) -> tuple[Json, News]:
    """Take an article out of the catalogue."""
    key = _listing_key(sku)
    if _own_record(tables, core, LISTING, key) is None:
        raise NotFound(f"There is no article '{sku}' in your stock.")
    tables.pending.add([(LISTING, key, None), *((STOCK, one, None) for one in _own_stock_keys(tables, core, key))])
    news = core.publish(tables)
    return {"sku": sku, **notes.publication(tables, core)}, news


@operation("stock.list", reads=True)
def stock_list(tables: Tables, core: Core, *, limit: int = 1_000, offset: int = 0) -> tuple[Json, News]:
    """List own articles in the order of their skus, with what still waits to be published."""
    stream = Stream(core.member_id, STREAM_PUBLIC)
    rows = dict(tables.catalogue.records(stream, LISTING))
    waiting = tables.pending.of_collection(LISTING)
    waiting_stock = tables.pending.of_collection(STOCK)
    for key, value in waiting.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    keys = sorted(rows)
    shown = [
        _article(tables, core, key, rows[key], waits=key in waiting or records.stock_key(key.decode()) in waiting_stock)
        for key in keys[offset : offset + limit]
    ]
    return {"total": len(keys), "offset": offset, "articles": shown, **notes.publication(tables, core)}, News()


@operation("import.begin")
def import_begin(tables: Tables, core: Core) -> tuple[Json, News]:
    """Begin an import; one that was broken off is forgotten."""
    tables.pending.begin_draft()
    return {}, News()


@operation("import.rows")
def import_rows(tables: Tables, core: Core, *, rows: list[tuple[str, bytes, bytes | None]]) -> tuple[Json, News]:
    """Add records to the import: [collection, key, encoded value]. Each is checked again."""
    for row, (collection, key, value) in enumerate(rows, 1):
        if value is not None:
            try:
                records.check_collection(collection)
                records.read(collection, key, value)
            except Refused as refused:
                raise BadInput(f"Record {row} cannot be taken: {refused.detail}.") from refused
    tables.pending.add_to_draft(rows)
    return {"rows": len(rows)}, News()


@operation("import.finish")
def import_finish(tables: Tables, core: Core) -> tuple[Json, News]:
    """Publish the import, whole."""
    tables.pending.finish_draft()
    news = core.publish(tables)
    return notes.publication(tables, core), news


@operation("profile.set")
def profile_set(tables: Tables, core: Core, *, profile: Json) -> tuple[Json, News]:
    """Say who this member is: name, address, place, languages."""
    news = _put(tables, core, [(PROFILE, PROFILE_KEY, profile)])
    return notes.publication(tables, core), news


# ── votes ─────────────────────────────────────────────────────────────────────────────────────────


@operation("vote.propose")
def vote_propose(
    tables: Tables,
    core: Core,
    *,
    title: str,
    text: str = "",
    closes_in_ms: int,
    quorum_bp: int = 0,
    threshold_bp: int = 5000,
) -> tuple[Json, News]:
    """Propose a decision."""
    proposal, news = core.propose(tables, title, text, closes_in_ms, quorum_bp=quorum_bp, threshold_bp=threshold_bp)
    return Shelf(tables, core).proposal(proposal), news


@operation("vote.cast")
def vote_cast(tables: Tables, core: Core, *, proposal: str, choice: str, why: str = "") -> tuple[Json, News]:
    """Cast this member's ballot, or change it."""
    proposal_id = find_proposal(tables, core, proposal)
    ballot, news = core.cast(tables, proposal_id, choice, why)
    shown = Shelf(tables, core).proposal(core.proposal(tables, proposal_id))
    return {**shown, "ballot": ballot.statement_id.hex(), "choice": choice}, news


@operation("vote.show", reads=True)
def vote_show(tables: Tables, core: Core, *, proposal: str) -> tuple[Json, News]:
    """Show one proposal with this node's provisional count."""
    proposal_id = find_proposal(tables, core, proposal)
    return Shelf(tables, core).proposal(core.proposal(tables, proposal_id)), News()


@operation("vote.list", reads=True)
def vote_list(tables: Tables, core: Core) -> tuple[Json, News]:
    """List all proposals, the latest first."""
    core.need_membership()
    return {"proposals": Shelf(tables, core).proposals()}, News()


def find_proposal(tables: Tables, core: Core, text: str) -> bytes:
    """Return the id of the proposal that a person means by the beginning of its id."""
    wanted = text.strip().lower()
    core.need_membership()
    known = [item.item_id.hex() for item in tables.items.on_topic(statements.PROPOSAL.encode())]
    found = [one for one in known if one.startswith(wanted)] if wanted else []
    if not found:
        raise NotFound(f"No proposal begins with '{text}'. `coopnode vote show` lists them.")
    if len(found) > 1:
        raise BadInput(f"'{text}' fits {len(found)} proposals: give more of the id.")
    return bytes.fromhex(found[0])


# ── the node ──────────────────────────────────────────────────────────────────────────────────────


@operation("status", reads=True)
def status(tables: Tables, core: Core) -> tuple[Json, News]:
    """Say how this node stands."""
    held = core.membership
    shelf = Shelf(tables, core)
    members = [] if held is None else shelf.members()
    own = core.publisher.own_head(tables)
    return {
        "name": core.config.name,
        "member": core.member_id.hex(),
        "folder": str(core.folder.path),
        "coop": None if held is None else held.roster.name,
        "coop_id": None if held is None else held.coop_id.hex(),
        "is_member": core.is_member,
        "page": None if held is None else held.roster.slot,
        "members": members,
        "coverage": None if held is None else shelf.coverage(),
        "replica": notes.replica(core, members),
        "own_head": None
        if own is None
        else {"epoch": own.version.epoch, "rev": own.version.rev, "records": own.record_count},
        "frontier": tables.items.frontier().hex(),
        "parked": core.ingest.parked,
        "refused": tables.meta.refusals(),
        "contradictions": len(tables.items.evidence()),
        "notes": notes.own_notes(core, own),
        "faults": notes.faults(tables, shelf),
        **notes.publication(tables, core),
    }, News()


@operation("publish.override")
def publish_override(tables: Tables, core: Core) -> tuple[Json, News]:
    """Publish although too few members have answered."""
    core.need_membership()
    core.publisher.override(tables, core.membership)
    news = core.look(tables)
    return notes.publication(tables, core), news


@operation("takeover")
def takeover(tables: Tables, core: Core) -> tuple[Json, News]:
    """Say that this node is the one that speaks for the member."""
    core.need_membership()
    core.publisher.takeover(tables, core.membership)
    news = core.look(tables)
    if core.publisher.target is not None:
        news.heads.append(core.publisher.target)
    return notes.publication(tables, core), news


@operation("key.rotate")
def key_rotate(
    tables: Tables, core: Core, *, recovery: str | None = None, passphrase: str | None = None
) -> tuple[Json, News]:
    """Replace the signing key; with the recovery key from paper also the rotation key."""
    seed = None if recovery is None else keystore.recovery_seed(recovery)
    sealed = keystore.is_sealed(core.folder.keys)
    if sealed:
        keystore.load(core.folder.keys, passphrase)  # refuses a wrong passphrase before anything is changed
    new = keystore.rotated(core.keys, core.publisher.epoch(tables) + 1, core.world.random_bytes, seed)
    # The key file first: a key that is lost after it has been announced would lock the member out.
    keystore.save(core.folder.keys, new, passphrase if sealed else None, core.world.random_bytes)
    news = core.rotate(tables, new)
    return {"epoch": new.identity.current.epoch, "key": new.identity.current.key.hex()}, news


# ── inside ────────────────────────────────────────────────────────────────────────────────────────


def own_endpoints(core: Core) -> list[str]:
    """Return where others reach this node, as far as its settings tell."""
    if core.config.public_url:
        return [core.config.public_url]
    if core.config.host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
        raise BadInput(
            "This node listens on all addresses, and nothing says at which of them others find it: set 'public_url' "
            'in its settings, such as "http://192.168.1.20:8420".'
        )
    if core.config.port == 0:
        raise BadInput("This node takes any free port: start it first, or set 'port' or 'public_url' in its settings.")
    return [f"http://{core.config.host}:{core.config.port}"]


def read_member_id(text: str) -> bytes:
    """Read a member id from hex. Raises NotFound: an id that cannot exist is not here."""
    try:
        member_id = bytes.fromhex(text)
    except ValueError:
        member_id = b""
    if len(member_id) != MEMBER_ID_BYTES:
        raise NotFound("A member id has 40 hex digits.")
    return member_id


def _put(tables: Tables, core: Core, rows: list[tuple[str, bytes, Json]]) -> News:
    try:
        tables.pending.add(
            [(collection, key, records.write(collection, key, value)) for collection, key, value in rows]
        )
    except Refused as refused:
        raise BadInput(f"This cannot be published: {refused.detail}.", problem=refused.reason.value) from refused
    return core.publish(tables)


def _own_record(tables: Tables, core: Core, collection: str, key: bytes) -> bytes | None:
    waits, value = tables.pending.get(collection, key)
    return value if waits else tables.catalogue.get(Stream(core.member_id, STREAM_PUBLIC), collection, key)


def _own_stock_keys(tables: Tables, core: Core, key: bytes) -> list[bytes]:
    """Return the keys of an article's stock at all places, published or waiting."""
    published = (one for one, _ in tables.catalogue.records(Stream(core.member_id, STREAM_PUBLIC), STOCK))
    every = {*published, *tables.pending.of_collection(STOCK)}
    return sorted(one for one in every if one.startswith(key + b"\0"))


def _listing_key(sku: str) -> bytes:
    try:
        return records.listing_key(sku)
    except Refused as refused:
        raise BadInput(f"'{sku}' cannot be a sku: {refused.detail}.", problem=refused.reason.value) from refused


def _article(tables: Tables, core: Core, key: bytes, value: bytes, *, waits: bool) -> Json:
    sku = key.decode()
    listing = records.read(LISTING, key, value)
    stock_key = records.stock_key(sku)
    stock_value = _own_record(tables, core, STOCK, stock_key)
    stock = {} if stock_value is None else records.read(STOCK, stock_key, stock_value)
    quantity = stock.get("quantity_milli")
    return {
        "sku": sku,
        "title": listing["title"],
        "price": format_minor(listing["price_minor"], listing["currency"]) if "price_minor" in listing else None,
        "quantity": None if quantity is None else format_milli(quantity),
        "available": stock.get("available") if quantity is None else quantity > 0,
        "waits": waits,
    }


def check_known(name: str) -> Named:
    """Return the operation called *name*. Raises NodeError for a name that does not exist."""
    found = OPERATIONS.get(name)
    if found is None:
        raise NodeError(f"'{name}' is not an operation of this node.", status=404, problem="not_found")
    return found
