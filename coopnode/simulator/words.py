"""Rules of what members may say, which guests break: heads, statements, identities. `rude` plays them."""

from __future__ import annotations

from coopnode.ingest import MAX_PARKED, evidence_slot, head_slot
from coopnode.simulator.coop import Member
from coopnode.simulator.guest import Guest
from coopnode.simulator.rude import Stay
from protocol import head as heads
from protocol import identity as identities
from protocol import keys, signing, statements
from protocol.errors import Reason
from protocol.head import Head
from protocol.items import ItemKind
from protocol.limits import MAX_AHEAD_MS
from protocol.messages import Put
from protocol.signing import NO_COOP
from protocol.statements import CONTACT, Statement


def put(stay: Stay, guest: Guest, *said: Head) -> None:
    """Have a guest say heads, and wait until all could have them."""
    guest.say(Put([one.signed.to_bytes() for one in said], [], []))
    stay.run_s(3)


# ── heads ────────────────────────────────────────────────────────────────────────────────────────────


def forged(stay: Stay) -> None:
    """A head that its member has not signed, for this co-op, is not taken in, and its bringer is sent away."""
    for what, coop_id in ((heads.WHAT, stay.town.coop.secret("another co-op")), (CONTACT, stay.town.coop.coop_id)):
        member = stay.seat()
        guest = stay.visit(member)
        right = stay.head(member, stay.rev(), "of this kind")
        put(stay, guest, right)
        stay.hold(stay.all_hold(right), "A head that is right must reach all. (9.5)")
        body = stay.head(member, stay.rev(), "of another kind").signed.body
        data = signing.sign(what, coop_id, body, member.seed).to_bytes()
        head = stay.town.coop.memory.read_head(data)
        put(stay, guest, head)
        stay.hold(not stay.any_holds(head), "A signature made for something else must not count. (3.3)")
        stay.end(guest)
    guest = stay.visit()
    victim = stay.others[0].member
    head = stay.head(victim, stay.rev(), "not mine", seed=stay.seat().seed)
    put(stay, guest, head)
    stay.hold(not stay.any_holds(head), "A head that its member has not signed must not be taken in. (8.2)")
    stay.refused(guest, Reason.FORGED, "Who sends a forged head must be sent away. (9.8)")


def older(stay: Stay) -> None:
    """An older head does not replace a newer one, and its author is told the newer."""
    member = stay.seat()
    guest = stay.visit(member)
    newer, before = stay.head(member, stay.rev(), "newer"), stay.head(member, stay.rev() - 1_000, "older")
    put(stay, guest, newer)
    stay.hold(stay.all_hold(newer), "A head that is right must reach all. (9.5)")
    begun = len(guest.heard)
    put(stay, guest, before)
    stay.hold(stay.all_hold(newer) and not stay.any_holds(before), "An older head must not be taken in. (8.4)")
    stay.hold(guest.was_told(newer.signed.to_bytes(), begun), "An author must be told its later word. (8.6)")
    stay.end(guest)


def ahead(stay: Stay) -> None:
    """A head of the future is kept back until its time has come, and not passed on."""
    member = stay.seat()
    guest = stay.visit(member)
    early_ms = MAX_AHEAD_MS + 40_000
    head = stay.head(member, stay.rev(early_ms), "of tomorrow")
    put(stay, guest, head)
    stay.run_s(10)
    stay.hold(not stay.any_holds(head), "A head of the future must be kept back. (8.5)")
    stay.hold(all(not node.ingest.parked for node in stay.others), "A head of the future must not go on. (8.5)")
    stay.run_s(60)
    stay.hold(stay.all_hold(head), "A head of the future must be taken in when its time has come. (8.5)")
    stay.end(guest)


def many_unknown(stay: Stay) -> None:
    """However many heads of unknown authors come, only so many are kept for later."""
    guest = stay.visit()
    for begin in range(0, MAX_PARKED + 500, 500):
        said = [stay.head(stay.stranger(begin + number), stay.rev(), "unknown") for number in range(500)]
        put(stay, guest, *said)
    stay.hold(stay.host.ingest.parked <= MAX_PARKED, "What waits for its author must be bounded. (5.4)")
    stay.hold(not guest.is_over, "A head whose author is not known yet is no fault of its bringer. (5.4)")
    stay.end(guest)


def two_words(stay: Stay) -> None:
    """Of contradicting heads all keep the same two, and the proof; a later head ends it, and the proof stays."""
    member = stay.seat()
    guest = stay.visit(member)
    rev = stay.rev()
    words = sorted((stay.head(member, rev, f"word {number}") for number in range(5)), key=lambda one: one.head_id)
    for place in (3, 2, 4, 0, 1):
        put(stay, guest, words[place])
    slot = head_slot(words[0])
    for node in (stay.host, *stay.others):
        held = [stay.held_in(node, ItemKind.HEAD, one) for one in (slot, evidence_slot(slot))]
        right = [one.signed.to_bytes() for one in words[:2]]
        stay.hold(held == right, "Of contradicting heads the two with the lowest ids must be kept. (8.4)")
        pairs = [set(pair) for pair in node.tables.items.evidence()]
        stay.hold(any(set(right) >= pair or pair & set(right) for pair in pairs), "The proof must be kept. (8.4)")
    later = stay.head(member, stay.rev(), "later")
    put(stay, guest, later)
    for node in (stay.host, *stay.others):
        stay.hold(stay.holds(node, later), "A later head must end a contradiction. (8.4)")
        left = stay.held_in(node, ItemKind.HEAD, evidence_slot(slot))
        stay.hold(left is None, "The second word must go when a later one has come. (8.4)")
        stay.hold(bool(node.tables.items.evidence()), "The proof must stay when a later word has come. (8.4)")
    stay.end(guest)


def third_word(stay: Stay) -> None:
    """A third contradicting head with a higher id is not taken in, so passing them on has an end."""
    member = stay.seat()
    guest = stay.visit(member)
    rev = stay.rev()
    words = sorted((stay.head(member, rev, f"one of {number}") for number in range(3)), key=lambda one: one.head_id)
    put(stay, guest, *words[:2])
    before = stay.town.recorder.messages_by_number[Put.number]
    put(stay, guest, words[2])
    put(stay, guest, words[2])
    stay.hold(not stay.any_holds(words[2]), "A third contradicting head must not be taken in. (8.4)")
    more = stay.town.recorder.messages_by_number[Put.number] - before
    # Two that the guest has said, and two in which its host has told it the word that holds.
    stay.hold(more <= 4, "A third contradicting head must not go on. (8.4)")
    stay.end(guest)


# ── statements ───────────────────────────────────────────────────────────────────────────────────────


def contact(stay: Stay, member: Member, revision: int, name: str, *, seed: bytes | None = None) -> Statement:
    """Return a contact statement of a member."""
    return statements.write(
        CONTACT,
        member_id=member.member_id,
        epoch=1,
        revision=revision,
        coop_id=stay.town.coop.coop_id,
        seed=member.seed if seed is None else seed,
        fields={"name": name, "endpoints": [], "relays": []},
    )


def said(stay: Stay) -> None:
    """A statement counts if its member has signed it, until a later one comes; contradictions are kept as proof."""
    member = stay.seat()
    guest = stay.visit(member)
    nodes = (stay.host, *stay.others)
    forged_one = contact(stay, member, 9, "forged", seed=stay.town.coop.secret("thief"))
    second, first = contact(stay, member, 2, "second"), contact(stay, member, 1, "first")
    twin = contact(stay, member, 2, "another second")
    for one in (forged_one, second, first):
        guest.say(Put([], [one.signed.to_bytes()], []))
        stay.run_s(3)
    held = [stay.held_in(node, ItemKind.STATEMENT, second.slot) for node in nodes]
    stay.hold(forged_one.signed.to_bytes() not in held, "A statement that nobody has signed must not count. (5)")
    stay.hold(first.signed.to_bytes() not in held, "An older statement must not replace a newer one. (5.3)")
    stay.hold(held == [second.signed.to_bytes()] * len(nodes), "A statement must reach all. (9.5)")
    guest.say(Put([], [twin.signed.to_bytes()], []))
    stay.run_s(3)
    pair = {second.signed.to_bytes(), twin.signed.to_bytes()}
    for node in nodes:
        stay.hold(pair in map(set, node.tables.items.evidence()), "Contradicting statements must be kept. (5.3)")
    stay.end(guest)


# ── identities ───────────────────────────────────────────────────────────────────────────────────────


def change(
    stay: Stay, member: Member, word: str, *, by: bytes | None = None, signer: bytes | None = None, epoch: int = 2
) -> tuple[bytes, bytes]:
    """Return an identity statement that gives *member* a new key, and the seed of that key.

    *by* is the seed of the key that claims the right to it, *signer* the one that has really signed.
    """
    seed, by = stay.town.coop.secret("new key", word), member.seed if by is None else by
    first = member.identity.current
    body = identities.body(
        seq=1,
        prev=first.statement_id,
        rotation=first.rotation,
        key=keys.public_key(seed),
        epoch=epoch,
        next_hash=None,
        by=keys.public_key(by),
    )
    return signing.sign(identities.WHAT, NO_COOP, body, by if signer is None else signer).to_bytes(), seed


def give(stay: Stay, guest: Guest, *said_of_keys: bytes) -> None:
    """Have a guest say identity statements, and wait until all could have them."""
    guest.say(Put([], [], list(said_of_keys)))
    stay.run_s(3)


def stolen(stay: Stay) -> None:
    """Nobody changes a member's key without the right to it, nor within an epoch."""
    thief = stay.town.coop.secret("thief")
    member = stay.seat()
    guest = stay.visit(member)
    for word, case in (
        ("A key without the right to it must not change an identity. (4.2)", {"by": thief}),
        ("An identity statement must be signed by the key that it names. (4.1)", {"signer": thief}),
        ("A change of key must begin a later epoch. (4.4)", {"epoch": 1}),
    ):
        data, _ = change(stay, member, word, **case)
        give(stay, guest, data)
        for node in (stay.host, *stay.others):
            stay.hold(len(stay.identity_at(node, member).log) == 1, word)
    stay.end(guest)


def new_key(stay: Stay) -> None:
    """After a change of key each epoch has its own: the old key speaks for the old one, the new for the new."""
    member = stay.seat()
    guest = stay.visit(member)
    data, seed = change(stay, member, "a true change")
    give(stay, guest, data)
    for node in (stay.host, *stay.others):
        stay.hold(len(stay.identity_at(node, member).log) == 2, "A change of key must reach all. (4.3)")
    old = stay.head(member, stay.rev(), "of the old epoch")
    put(stay, guest, old)
    stay.hold(stay.all_hold(old), "What the old key says of its own epoch must count. (4.4)")
    wrong = stay.head(member, stay.rev(), "by the old key", epoch=2)
    put(stay, guest, wrong)
    stay.hold(not stay.any_holds(wrong), "The old key must not speak for the new epoch. (4.4)")
    right = stay.head(member, stay.rev(), "by the new key", seed=seed, epoch=2)
    put(stay, guest, right)
    stay.hold(stay.all_hold(right), "The new key must speak for the new epoch. (4.4)")
    stay.end(guest)


def fork(stay: Stay) -> None:
    """Two changes of equal rank freeze an identity: neither new key speaks for it."""
    member = stay.seat()
    guest = stay.visit(member)
    one, seed = change(stay, member, "one branch")
    other, _ = change(stay, member, "the other branch")
    give(stay, guest, one)
    before = stay.head(member, stay.rev(), "before the fork was known", seed=seed, epoch=2)
    put(stay, guest, before)
    give(stay, guest, other)
    for node in (stay.host, *stay.others):
        stay.hold(stay.identity_at(node, member).frozen, "Two changes of equal rank must freeze an identity. (4.3)")
    stay.hold(not stay.any_holds(before), "What falls with a fork must be dropped. (4.3)")
    after = stay.head(member, stay.rev(), "after the fork", seed=seed, epoch=2)
    put(stay, guest, after)
    old = stay.head(member, stay.rev(), "by the old key of the new epoch", epoch=2)
    put(stay, guest, old)
    stay.hold(not stay.any_holds(after) and not stay.any_holds(old), "A frozen identity must not speak. (4.3)")
    stay.end(guest)


# With the members of forgers nobody has a link afterwards, and members that have changed their keys come last.
RULES = (older, ahead, many_unknown, two_words, third_word, said, forged, stolen, new_key, fork)
