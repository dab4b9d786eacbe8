"""The operations of the vectors, answered by `protocol`: from a vector's `in` to its `out`, or Refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from protocol import (
    chunks,
    encoding,
    head,
    identity,
    invitation,
    keys,
    messages,
    minutes,
    polls,
    proof,
    proved,
    pull,
    recon,
    records,
    roster,
    session,
    signing,
    statements,
    trie,
)
from protocol.errors import Reason, Refused
from protocol.limits import REQUEST_MS

TOLD = (messages.Hello, messages.Proof, messages.Pong)
In = dict[str, Any]
Out = dict[str, Any]


def unhex(text: str) -> bytes:
    """`61*3 62` is 61616162: parts with spaces between, each hex or hex*count."""
    parts = [part.partition("*") for part in text.split()]
    return b"".join(bytes.fromhex(digits) * int(times or "1") for digits, _, times in parts)


def diagnose(value: Any) -> str:
    """Write a value for a person: nil, true, 12, "text", h'00', [..], {..}."""
    match value:
        case None:
            return "nil"
        case bytes():
            return f"h'{value.hex()}'"
        case list():
            return f"[{', '.join(map(diagnose, value))}]"
        case dict():
            return f"{{{', '.join(f'{diagnose(key)}: {diagnose(item)}' for key, item in value.items())}}}"
        case _:
            return json.dumps(value)


def identity_in(i: In) -> identity.Identity:
    member_id = unhex(i["member"]) if i.get("member") else None
    settled = unhex(i["settled"]) if i.get("settled") else None
    return identity.fold([identity.read(unhex(one)) for one in i["log"]], member_id, settled)


def summary_out(summary: trie.Summary) -> Out:
    return {"count": summary.count, "size": summary.size, "hash": summary.hash.hex()}


def summarise(pairs: list[list[str]]) -> trie.Summary:
    return trie.summarise(trie.entries((unhex(key), unhex(value)) for key, value in pairs))


def members_in(i: In) -> roster.Roster:
    entries = {
        one: roster.MemberEntry(one, roster.ACTIVE, bytes(32), bytes(32), 0, None, 0, 0)
        for one in map(unhex, i["members"])
    }
    return roster.Roster(bytes(32), "co-op", 0, bytes(32), 0, 0, entries, {})


def op_decode(i: In) -> Out:
    return {"value": diagnose(encoding.decode(unhex(i["data"]), i["max_bytes"]))}


def op_inflate(i: In) -> Out:
    return {"raw": encoding.inflate(unhex(i["data"]), i["max_bytes"]).hex()}


def op_verify(i: In) -> Out:
    keys.verify(unhex(i["public"]), unhex(i["signature"]), unhex(i["message"]))
    return {"key_id": keys.key_id(unhex(i["public"])).hex()}


def op_signed(i: In) -> Out:
    signed = signing.split(unhex(i["data"]), i["max_body"])
    signing.verify(signed, i["kind"], unhex(i["coop"]), unhex(i["public"]))
    covered = signing.message(i["kind"], unhex(i["coop"]), signed.body)
    return {"id": signed.object_id.hex(), "covered": covered.hex()}


def op_identity_read(i: In) -> Out:
    one = identity.read(unhex(i["data"]))
    return {"id": one.statement_id.hex(), "seq": one.seq, "epoch": one.epoch}


def op_identity_fold(i: In) -> Out:
    one = identity_in(i)
    return {"member": one.member_id.hex(), "log": [each.statement_id.hex() for each in one.log], "frozen": one.frozen}


def op_identity_follows(i: In) -> Out:
    return {"priority": identity.priority(identity.read(unhex(i["new"])), identity.read(unhex(i["before"])))}


def op_statement_read(i: In) -> Out:
    one = statements.read(unhex(i["data"]))
    return {
        "kind": one.kind,
        "id": one.statement_id.hex(),
        "member": one.member_id.hex(),
        "slot": one.slot.hex(),
    }


def op_statement_verify(i: In) -> Out:
    statements.verify(statements.read(unhex(i["data"])), unhex(i["coop"]), identity_in(i))
    return {}


def op_statement_replaces(i: In) -> Out:
    statements.check_replaces(statements.read(unhex(i["new"])), statements.read(unhex(i["current"])))
    return {}


def op_record(i: In) -> Out:
    records.check_collection(i["collection"])
    return {"value": diagnose(records.read(i["collection"], unhex(i["key"]), unhex(i["value"])))}


def op_trie(i: In) -> Out:
    return summary_out(summarise(i["records"]))


def op_state(i: In) -> Out:
    collections = {name: summarise(pairs) for name, pairs in i["collections"].items()}
    return {"body": trie.state_body(collections).hex(), "root": trie.state_root(collections).hex()}


def op_chunk(i: In) -> Out:
    chunk = chunks.read_chunk(unhex(i["data"]), i["prefix"])
    summary = trie.summarise(chunk.entries, len(i["prefix"]))
    if i.get("expected") not in (None, summary.hash.hex()):
        raise Refused(Reason.CHUNK_MISMATCH, "another hash was expected")
    return summary_out(summary)


def op_operations(i: In) -> Out:
    bodies = {name: unhex(body) for name, body in i["bodies"].items()}
    chunks.read_ops(bodies)
    summary = chunks.summarise_ops(bodies)
    if "head" in i:
        one = head.read(unhex(i["head"]))
        if (summary.root, summary.count, summary.size) != (one.ops_root, one.ops_count, one.ops_bytes):
            raise Refused(Reason.OPS_MISMATCH, "the operations are not those of the head")
    return {"root": summary.root.hex(), "count": summary.count, "size": summary.size}


def _walk(i: In) -> pull.Walk:
    # Ours has other records everywhere, so that every subtree that is not empty is asked for.
    other = trie.Summary(1, 1, bytes([255] * 32))
    walk = pull.Walk(head.read(unhex(i["head"])), {}, lambda _collection, _prefix: other)
    (question,) = walk.questions()
    walk.receive(question, messages.Nodes(1, None, unhex(i["state"]), []))
    return walk


def op_walk_state(i: In) -> Out:
    walk = _walk(i)
    assert walk.collections is not None
    return {"collections": list(walk.collections), "author_fault": walk.author_fault is not None}


def op_walk_nodes(i: In) -> Out:
    """One answer about collection `listing` at the empty prefix."""
    walk = _walk(i)
    (question,) = walk.questions()
    answer = messages.read(unhex(i["nodes"]))
    assert isinstance(answer, messages.Nodes)
    walk.receive(question, answer)
    return {"below": [prefix for one in walk.questions() for prefix in one.prefixes]}


def op_proof(i: In) -> Out:
    key = unhex(i["key"])
    finding = proof.check(unhex(i["proof"]), head.read(unhex(i["head"])), i["collection"], key)
    if "value" in i:
        finding.check_value(key, unhex(i["value"]))
    return {"entry": None if finding.entry is None else finding.entry.hex()}


def op_proved(i: In) -> Out:
    bundle = proved.read(unhex(i["data"]))
    for row in bundle.rows:
        row.check()
    return {
        "rows": [
            [row.head.stream.member_id.hex(), row.collection, row.key.hex(), row.value is not None]
            for row in bundle.rows
        ]
    }


def op_head_read(i: In) -> Out:
    one = head.read(unhex(i["data"]))
    return {
        "id": one.head_id.hex(),
        "epoch": one.version.epoch,
        "rev": one.version.rev,
        "root": one.state_root.hex(),
    }


def op_head_verify(i: In) -> Out:
    head.verify(head.read(unhex(i["data"])), unhex(i["coop"]), identity_in(i))
    return {}


def op_head_replaces(i: In) -> Out:
    head.check_replaces(head.read(unhex(i["new"])), head.read(unhex(i["current"])))
    return {}


def op_head_tie(i: In) -> Out:
    one, other = head.read(unhex(i["one"])), head.read(unhex(i["other"]))
    return {"holds": (one if head.wins_tie(one, other) else other).head_id.hex()}


def op_head_now(i: In) -> Out:
    head.check_not_future(head.read(unhex(i["data"])), i["now_ms"])
    return {}


def op_message(i: In) -> Out:
    return {"number": messages.read(unhex(i["data"])).number}


def ids_in(i: In) -> list[bytes]:
    return [hashlib.sha256(f"item {k}".encode()).digest() for begin, end in i["ids"] for k in range(begin, end)]


def ranges_out(ranges: list[list[Any]]) -> list[list[Any]]:
    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(one) for one in value]
        return None if value is None else value.hex()

    return [[bound.hex(), mode, text(payload)] for bound, mode, payload in ranges]


def op_reconcile_answer(i: In) -> Out:
    question = messages.read(unhex(i["question"]))
    assert isinstance(question, messages.Reconcile)
    return {"ranges": ranges_out(recon.answer(ids_in(i), question, bytes(8), 0).ranges)}


def op_reconcile_ask(i: In) -> Out:
    asking = recon.Reconciler(ids_in(i), unhex(i["salt"]))
    waiting = asking.questions()
    asked, lacking, spare = list(waiting), set[bytes](), set[bytes]()
    for data in i["answers"]:
        answer = messages.read(unhex(data))
        assert isinstance(answer, messages.Reconciled)
        told = asking.receive(waiting.pop(0), answer)
        lacking.update(told.lacking)
        spare.update(told.spare)
        more = asking.questions()
        waiting += more
        asked += more
    return {
        "asked": [ranges_out(one.ranges) for one in asked],
        "lacking": sorted(one.hex() for one in lacking),
        "spare": sorted(one.hex() for one in spare),
        "done": asking.done,
    }


def op_transcript(i: In) -> Out:
    dialer, listener = messages.read(unhex(i["dialer"])), messages.read(unhex(i["listener"]))
    assert isinstance(dialer, messages.Hello)
    assert isinstance(listener, messages.Hello)
    sides = [[one.member_id, one.instance, one.nonce] for one in (dialer, listener)]
    return {who: encoding.encode([who, *sides]).hex() for who in ("dialer", "listener")}


def op_session(i: In) -> Out:
    """Play one side of a handshake against the messages of the other."""
    own = identity.fold([identity.read(unhex(one)) for one in i["log"]])
    me = session.Me(unhex(i["coop"]), own, unhex(i["seed"]), unhex(i["instance"]))
    link = session.Session(me, session.Role(i["role"]), unhex(i["nonce"]), 0)
    questions = [messages.read(unhex(one)) for one in i.get("asks", [])]
    now_ms, answered, sent = 0, 0, link.data_to_send()
    for data in map(unhex, i["receive"]):
        for event in link.receive(data, now_ms):
            if isinstance(event, session.Closed) and event.reason is not None:
                raise Refused(event.reason, event.detail)
            if isinstance(event, session.Answered):
                answered += 1
            if isinstance(event, session.Opened):
                for question in questions:
                    assert isinstance(question, messages.Question)
                    link.ask(question, now_ms)
                if i.get("late"):
                    now_ms = REQUEST_MS
                    link.tick(now_ms)
        sent += link.data_to_send()
    # Questions and pings are a node's own affair.
    told = [one.hex() for one in sent if isinstance(messages.read(one), TOLD)]
    return {"state": link.state.name.lower(), "sent": told, "answered": answered}


def _rows(book: roster.Roster) -> list[list[str]]:
    """The rows of the state hash, written out here once more: `Roster` keeps them to itself."""
    line = [
        (b"member/" + one.member_id, [one.status, one.key, one.epoch, one.identity_id, one.sponsor])
        for one in book.members.values()
    ]
    rows: list[tuple[bytes, Any]] = [
        (key, [*value, book.members[key[7:]].since_slot, book.members[key[7:]].since_ms]) for key, value in line
    ]
    rows.append((b"tellers", [book.teller_epoch, list(book.tellers)]))
    rows += [(b"policy/" + name.encode(), value) for name, value in book.policy.items()]
    rows += [(b"invitation/" + one, uses) for one, uses in book.invitation_uses.items()]
    return [[key.hex(), encoding.encode(value).hex()] for key, value in sorted(rows)]


def op_genesis(i: In) -> Out:
    genesis = minutes.read_genesis(unhex(i["bundle"]), unhex(i["coop"]))
    book = roster.from_genesis(genesis)
    founders = [one.member_id.hex() for one in genesis.founders]
    return {"name": genesis.name, "founders": founders, "rows": _rows(book), "state": book.state_hash().hex()}


def op_pages(i: In) -> Out:
    genesis = minutes.read_genesis(unhex(i["bundle"]), unhex(i["coop"]))
    known = {one.member_id: one for one in genesis.founders}
    known |= minutes.fold_identities(map(unhex, i["identities"]))
    book = roster.from_genesis(genesis)
    for data in i["pages"]:
        book = roster.check_certificate(minutes.read_official(unhex(data)), book, known.get)
    return {
        "slot": book.slot,
        "page": book.page_id.hex(),
        "members": [one.hex() for one in book.tellers],
        "rows": _rows(book),
        "state": book.state_hash().hex(),
    }


def op_page_now(i: In) -> Out:
    page = minutes.page_of(statements.read_kind(unhex(i["page"]), statements.PAGE))
    roster.check_page_time(page, i["now_ms"])
    return {}


def op_invitation(i: In) -> Out:
    one = invitation.from_text(i["text"])
    return {
        "coop": one.coop_id.hex(),
        "statement": one.statement.statement_id.hex(),
        "endpoints": list(one.endpoints),
    }


def op_proposal(i: In) -> Out:
    polls.check_proposal(statements.read_kind(unhex(i["data"]), statements.PROPOSAL))
    return {}


def op_ballot(i: In) -> Out:
    proposal = statements.read_kind(unhex(i["proposal"]), statements.PROPOSAL) if i["proposal"] else None
    polls.check_ballot(statements.read_kind(unhex(i["ballot"]), statements.BALLOT), proposal, members_in(i))
    return {}


def op_tally(i: In) -> Out:
    count = polls.tally(
        statements.read_kind(unhex(i["proposal"]), statements.PROPOSAL),
        [statements.read_kind(unhex(one), statements.BALLOT) for one in i["ballots"]],
        members_in(i),
    )
    names = ("yes", "no", "abstain", "doubled", "entitled", "quorum", "carried")
    return {name: getattr(count, name) for name in names}


OPERATIONS: dict[str, Callable[[In], Out]] = {
    name.removeprefix("op_"): function for name, function in list(globals().items()) if name.startswith("op_")
}
