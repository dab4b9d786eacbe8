"""Every decoder, whole: cut at every byte, with a byte too many, and with every byte changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from protocol import chunks, head, identity, invitation, messages, minutes, proof, roster, statements, trie
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from tests.protocol.builders import COOP, Catalogue, Scenario, coop, listing, listings, member, secret
from tests.protocol.test_messages import EXAMPLES
from tests.protocol.test_statements import FIELDS

AUTHOR = member(1)
CATALOGUE = Catalogue({"listing": listings(40), "stock": {b"sku-1\0": b"\x80"}})
HEAD = CATALOGUE.head(AUTHOR)


@dataclass(frozen=True)
class Example:
    """One good object: its bytes, and what reads and verifies them down to a value that can be compared."""

    name: str
    good: bytes
    accept: Callable[[bytes], Any]


def accept_head(data: bytes) -> Any:
    one = head.read(data)
    head.verify(one, COOP, AUTHOR.identity)
    return one


def accept_statement(data: bytes) -> Any:
    one = statements.read(data)
    statements.verify(one, COOP, AUTHOR.identity)
    return one


SOCIETY = coop(2)
NEWCOMER = member(9)
OFFICIAL_PAGE = SOCIETY.page(SOCIETY.draft([SOCIETY.admission(NEWCOMER)]))
OFFICIAL = minutes.write_official(OFFICIAL_PAGE, [SOCIETY.final(OFFICIAL_PAGE, one) for one in SOCIETY.members])


def accept_official(data: bytes) -> Any:
    return roster.check_certificate(minutes.read_official(data), SOCIETY.roster, SOCIETY.identity_of)


RECORDS = CATALOGUE.records_under("listing", "3")
CHUNK = chunks.write_chunk(RECORDS)
CHUNK_SUMMARY = CATALOGUE.summary("listing", "3")


def accept_ops(data: bytes) -> Any:
    found = chunks.read_ops({"listing": data})
    if chunks.summarise_ops({"listing": data}) != OPS_SUMMARY:
        raise Refused(Reason.OPS_MISMATCH, "the operations are not those of the head")
    return found


OPS_BODIES = chunks.write_ops({"listing": {b"sku-1": b"\x80", b"sku-2": None, b"sku-3": encode({"title": "x"})}})
OPS_SUMMARY = chunks.summarise_ops(OPS_BODIES)
KEY, VALUE = listing(7)
PROOF = proof.build(
    CATALOGUE.summaries(),
    "listing",
    KEY,
    lambda prefix: CATALOGUE.entries_under("listing", prefix),
    lambda prefix: CATALOGUE.summary("listing", prefix),
)


def accept_proof(data: bytes) -> Any:
    finding = proof.check(data, HEAD, "listing", KEY)
    finding.check_value(KEY, VALUE)
    return finding


SECOND = Scenario("A1 -> A2").statements["A2"].signed.to_bytes()

SIGNED = [
    Example("head", HEAD.signed.to_bytes(), accept_head),
    *[Example(kind, AUTHOR.says(kind, **FIELDS[kind]).signed.to_bytes(), accept_statement) for kind in FIELDS],
    Example("first identity statement", AUTHOR.log[0], identity.read),
    Example("second identity statement", SECOND, identity.read),
    Example("genesis bundle", SOCIETY.bundle, lambda data: minutes.read_genesis(data, SOCIETY.coop_id)),
    Example("official page", OFFICIAL, accept_official),
    Example("operations", OPS_BODIES["listing"], accept_ops),
    Example("proof", PROOF, accept_proof),
]
UNSIGNED = [Example(type(one).__name__, messages.write(one), messages.read) for one in EXAMPLES]


def named(example: Example) -> str:
    return example.name.replace(" ", "-")


def changes_of(good: bytes) -> list[bytes]:
    """Return *good* with one byte changed, for each place in five ways: the ends, a sign, a type, and anything."""
    changed = []
    for place, byte in enumerate(good):
        anything = secret(place)[0] or 1
        for mask in {0x01, 0x80, 0x10, 0xFF, anything}:
            changed.append(good[:place] + bytes([byte ^ mask]) + good[place + 1 :])
    return changed


@pytest.mark.parametrize("example", [*SIGNED, *UNSIGNED], ids=named)
def test_the_good_bytes_are_accepted(example: Example) -> None:
    assert example.accept(example.good) == example.accept(example.good)


@pytest.mark.parametrize("example", [*SIGNED, *UNSIGNED], ids=named)
def test_bytes_cut_short_anywhere_are_refused(example: Example) -> None:
    for length in range(len(example.good)):
        with pytest.raises(Refused):
            example.accept(example.good[:length])


@pytest.mark.parametrize("example", [*SIGNED, *UNSIGNED], ids=named)
def test_bytes_that_go_on_are_refused(example: Example) -> None:
    for more in (b"\0", b"\xc0", b"\xff", example.good):
        with pytest.raises(Refused):
            example.accept(example.good + more)


@pytest.mark.parametrize("example", SIGNED, ids=named)
def test_what_is_signed_or_hashed_is_refused_after_any_change_of_one_byte(example: Example) -> None:
    for bad in changes_of(example.good):
        with pytest.raises(Refused):
            example.accept(bad)


@pytest.mark.parametrize("example", UNSIGNED, ids=named)
def test_a_changed_message_is_refused_or_another_message(example: Example) -> None:
    same = example.accept(example.good)
    for bad in changes_of(example.good):
        try:
            assert example.accept(bad) != same
        except Refused:
            continue


def test_a_damaged_chunk_is_refused_or_has_the_same_records() -> None:
    """Deflate has many forms of one content (the level in its second byte), and only the content is signed."""
    good = chunks.read_chunk(CHUNK, "3")
    assert trie.summarise(good.entries, 1) == CHUNK_SUMMARY
    same = 0
    for bad in [*changes_of(CHUNK), *(CHUNK[:length] for length in range(len(CHUNK))), CHUNK + b"\0"]:
        try:
            chunk = chunks.read_chunk(bad, "3")
        except Refused:
            continue
        if trie.summarise(chunk.entries, 1) == CHUNK_SUMMARY:
            assert chunk == good
            same += 1
    assert same <= 4


@pytest.mark.parametrize("accept", [chunks.read_ops, chunks.summarise_ops])
def test_no_operations_are_anything_but_read_or_refused(accept: Callable[[dict[str, bytes]], Any]) -> None:
    body = OPS_BODIES["listing"]
    assert accept({"listing": body})
    for bad in [*changes_of(body), *(body[:length] for length in range(len(body)))]:
        try:
            accept({"listing": bad})
        except Refused:
            continue


INVITATION = invitation.Invitation(SOCIETY.coop_id, SOCIETY.invitation(), ("https://a.example", "http://b"))
TEXT = invitation.to_text(INVITATION)


def accept_text(text: str) -> invitation.Invitation:
    one = invitation.from_text(text)
    statements.verify(one.statement, one.coop_id, SOCIETY.members[0].identity)
    return one


def test_an_invitation_is_refused_after_any_change_but_of_its_addresses() -> None:
    assert accept_text(TEXT) == INVITATION
    addresses = len(TEXT) - 40
    for place, letter in enumerate(TEXT):
        for other in {"A", "_", "0", "z", "=", "é", "\0"} - {letter}:
            changed = TEXT[:place] + other + TEXT[place + 1 :]
            try:
                found = accept_text(changed)
            except Refused:
                continue
            assert place > addresses
            assert found != INVITATION
            assert found.statement == INVITATION.statement
    for length in range(len(TEXT)):
        with pytest.raises(Refused):
            accept_text(TEXT[:length])
    for more in ("A", "AA", "=", "!"):
        with pytest.raises(Refused):
            accept_text(TEXT + more)


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_refused_everywhere(seed: int) -> None:
    noise = b"".join(secret(f"noise {seed} {part}") for part in range(4))
    accepts = [example.accept for example in (*SIGNED, *UNSIGNED)]
    accepts += [lambda data: chunks.read_chunk(data, ""), lambda data: decode(data, 1000)]
    for accept in accepts:
        for data in (noise, noise[:1] * 128, bytes(65) + noise):
            with pytest.raises(Refused):
                accept(data)
