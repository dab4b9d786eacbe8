"""Rules of conversation that guests break: handshake, turns, questions, pings, the tree. `rude` plays them."""

from __future__ import annotations

from coopnode.simulator.guest import Guest
from coopnode.simulator.rude import Stay
from protocol import recon, statements
from protocol.errors import Reason
from protocol.items import ItemKind
from protocol.limits import (
    HANDSHAKE_MS,
    LAZY_MS,
    MAX_GRAFTS,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_REQUESTS_UNDER_WAY,
    PING_EVERY_MS,
    REQUEST_MS,
    SHORT_ID_BYTES,
    SILENT_MS,
    SUSPECT_MS,
)
from protocol.messages import (
    GetItems,
    GetPages,
    Graft,
    Have,
    Hello,
    Items,
    Message,
    News,
    Ping,
    Pong,
    Proof,
    Prune,
    Put,
    Reconcile,
    Since,
    Status,
)

# ── handshake ────────────────────────────────────────────────────────────────────────────────────────


def another_key(stay: Stay) -> None:
    """Who does not hold the key of the member it names is not let in."""
    member = stay.seat()
    guest = stay.call(member, stay.me(member, seed=stay.town.coop.secret("thief")))
    stay.refused(guest, Reason.BAD_SIGNATURE, "A guest without the member's key must be refused. (9.2)")


def another_coop(stay: Stay) -> None:
    """A node of another co-op is not let in."""
    member = stay.seat()
    guest = stay.call(member, stay.me(member, coop_id=stay.town.coop.secret("another co-op")))
    stay.refused(guest, Reason.WRONG_COOP, "A node of another co-op must be told so. (9.2)")


def a_hello(stay: Stay, **other: object) -> Hello:
    """Return the hello of a member with something wrong in it."""
    member = stay.seat()
    me = stay.me(member)
    right = {
        "version": 1,
        "coop_id": me.coop_id,
        "member_id": member.member_id,
        "instance": me.instance,
        "nonce": stay.town.random.randbytes(32),
        "log": [one.signed.to_bytes() for one in member.identity.log],
    }
    return Hello(**{**right, **other})  # type: ignore[arg-type]  # fields by name


def another_version(stay: Stay) -> None:
    """A session of a version that is not known is refused."""
    guest = stay.call(stay.seat(), None)
    guest.say(a_hello(stay, version=2))
    stay.run_s(1)
    stay.refused(guest, Reason.WRONG_VERSION, "A session of another version must be refused. (9.2)")


def own_echo(stay: Stay) -> None:
    """A node that reaches itself notices it: by its instance."""
    watched = stay.visit()
    (theirs,) = watched.of(Hello)
    stay.end(watched)
    guest = stay.call(stay.seat(), None)
    guest.say(a_hello(stay, instance=theirs.instance))
    stay.run_s(1)
    stay.refused(guest, Reason.SAME_NODE, "A node must notice that it has called itself. (9.2)")


def replay(stay: Stay) -> None:
    """What a member said in an earlier handshake opens no other session."""
    first = stay.visit()
    hello, proof = first.sent[0], first.sent[1]
    stay.end(first)
    guest = stay.call(stay.seat(), None)
    guest.send(hello)
    stay.run_s(1)
    guest.send(proof)
    stay.run_s(1)
    stay.refused(guest, Reason.BAD_SIGNATURE, "A handshake that was recorded must not open another session. (9.2)")


def reflection(stay: Stay) -> None:
    """The host's own proof, sent back, does not prove that a guest is the host."""
    host = stay.host.member
    guest = stay.call(stay.seat(), None)
    guest.say(a_hello(stay, member_id=host.member_id, log=[one.signed.to_bytes() for one in host.identity.log]))
    stay.run_s(1)
    guest.say(*guest.of(Proof))
    stay.run_s(1)
    stay.refused(guest, Reason.BAD_SIGNATURE, "A proof that is sent back to its sender must be refused. (9.2)")


def never_ready(stay: Stay) -> None:
    """Who does not finish the handshake is sent away in time."""
    guest = stay.call(stay.seat(), None)
    stay.run_s(HANDSHAKE_MS / 1_000 + 1)
    stay.refused(guest, Reason.TIMED_OUT, "Who says nothing in a handshake must be sent away. (9.2)")


# ── turns and questions ──────────────────────────────────────────────────────────────────────────────


def too_early(stay: Stay) -> None:
    """Before a guest has proved who it is, nothing of what it says counts."""
    member = stay.seat()
    head = stay.head(member, stay.rev(), "too early")
    guest = stay.call(member, None)
    guest.say(Put([head.signed.to_bytes()], [], []))
    stay.run_s(1)
    stay.hold(not stay.any_holds(head), "What is said before the handshake must not be taken in. (9.3)")
    stay.refused(guest, Reason.OUT_OF_TURN, "What is said out of turn must end the session. (9.3)")


def unasked(stay: Stay) -> None:
    """An answer that nobody waits for ends the session, and so does one of the wrong kind."""
    guest = stay.visit()
    guest.say(News(4_000_000_000, bytes(8), 0, True, False, [], [], []))
    stay.run_s(1)
    stay.hold(guest.goodbye == Reason.UNASKED, "An answer that nobody has asked for must end the session. (9.3)")
    stay.end(guest)
    guest = stay.visit()
    asked = guest.of(Since)
    stay.hold(bool(asked), "A node that is new here must be heard out. (9.6)")
    for one in asked[:1]:
        guest.say(Items(one.request, [], [], []))
    stay.run_s(1)
    stay.hold(guest.goodbye == Reason.UNASKED, "An answer of the wrong kind must end the session. (9.3)")
    stay.end(guest)


def no_answers(stay: Stay) -> None:
    """Who answers no question: few are open at once, each is given up in time, a late answer is no crime."""
    guest = stay.visit()
    for number in range(3 * MAX_REQUESTS_UNDER_WAY):
        # Of authors that nobody knows: the host asks for the pages that may explain them.
        head = stay.head(stay.stranger(number), stay.rev(), "unknown")
        guest.say(Put([head.signed.to_bytes()], [], []))
        stay.run_s(0.1)
    stay.run_s(1)
    first = guest.questions()
    stay.hold(len(first) <= MAX_REQUESTS_UNDER_WAY, "More questions were put at once than allowed. (9.3)")
    stay.run_s(REQUEST_MS / 1_000 + 1)
    later = guest.questions()
    stay.hold(len(later) > len(first), "A question that gets no answer must be given up. (9.3)")
    for one in first:
        if isinstance(one, Since):
            guest.say(News(one.request, bytes(8), 0, True, False, [], [], []))
    stay.run_s(1)
    stay.hold(not guest.is_over, "An answer that comes late must be passed over, no more. (9.3)")
    stay.end(guest)


# ── silence and pings ────────────────────────────────────────────────────────────────────────────────


def silence(stay: Stay) -> None:
    """Who falls silent is asked, then suspected, then left."""
    guest = stay.visit()
    guest.mute = True
    suspected = stay.town.recorder.suspected
    stay.run_s((PING_EVERY_MS + SUSPECT_MS) / 1_000 + 2)
    stay.hold(bool(guest.of(Ping)), "A link on which nothing is heard must be asked for an echo. (9.5)")
    stay.hold(stay.town.recorder.suspected > suspected, "A peer that gives no echo must be suspected. (9.5)")
    stay.run_s(SILENT_MS / 1_000)
    stay.refused(guest, Reason.TIMED_OUT, "A link on which nothing is heard must be closed. (9.3)")


def echo(stay: Stay) -> None:
    """A ping has its echo, and who is heard is not pinged."""
    guest = stay.visit()
    for number in range(20):
        guest.say(Ping(number))
        stay.run_s(1)
    stay.hold(len(guest.of(Pong)) == 20, "Each ping must have its echo. (9.3)")
    stay.hold(len(guest.of(Ping)) <= 1, "A link that is heard must not be pinged. (9.5)")
    stay.end(guest)


def quiet(stay: Stay) -> None:
    """On a link without news there are fewer pings."""
    guest = stay.visit()
    stay.run_s(70)
    before = len(guest.of(Ping))
    stay.run_s(60)
    stay.hold(0 < len(guest.of(Ping)) - before <= 6, "A link without news must be pinged seldom. (9.5)")
    stay.end(guest)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────────


def names_only(stay: Stay) -> None:
    """After Prune others' words come by name, and whole when asked for; own words come whole all the same."""
    guest = stay.visit()
    guest.say(Prune())
    stay.run_s(1)
    begun = len(guest.heard)
    teller = stay.others[0]
    word = stay.town.coop.memory.read_head(teller.publish(b"told by name"))
    stay.run_s(LAZY_MS / 1_000 + 0.8)  # before anything else is said on this link
    puts = [data for _, one in guest.heard[begun:] if isinstance(one, Put) for data in one.heads]
    names = b"".join(one.ids for _, one in guest.heard[begun:] if isinstance(one, Have))
    short = word.head_id[:SHORT_ID_BYTES]
    stay.hold(word.signed.to_bytes() not in puts, "After Prune others' words must not come whole. (9.5)")
    stay.hold(short in names, "After Prune others' words must come by name, and soon. (9.5)")
    own = stay.host.publish(b"my own word")
    stay.run_s(1)
    stay.hold(guest.was_told(own, begun), "Own words must come whole on every link. (9.5)")
    later = teller.publish(b"the later word")
    stay.run_s(3)
    guest.say(Graft(short))
    stay.run_s(1)
    stay.hold(guest.was_told(later, begun), "Who asks for a word must get it, or the later one of its stream. (9.5)")
    more = teller.publish(b"after the graft")
    stay.run_s(2)
    stay.hold(guest.was_told(more, begun), "After Graft all that is new must come whole. (9.5)")
    stay.end(guest)


def empty_names(stay: Stay) -> None:
    """What was named and is not given is asked for again, and not for ever."""
    guest = stay.visit()
    guest.say(Have(stay.town.random.randbytes(SHORT_ID_BYTES)))
    stay.run_s(60)
    grafts = len(guest.of(Graft))
    stay.hold(grafts > 0, "What was named and does not come must be asked for. (9.5)")
    stay.hold(grafts != 1, "What was asked for and does not come must be asked for again. (9.5)")
    stay.hold(grafts <= MAX_GRAFTS, "What never comes must not be asked for without end. (9.5)")
    stay.end(guest)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────


def answers(stay: Stay) -> None:
    """A cursor of another life of the store means nothing; the items asked for come, and no others."""
    guest = stay.visit()
    guest.mute = True  # its own session has not asked what it asks here
    tables = stay.host.tables
    everything, nonce = tables.items.number(), tables.meta.get("store_nonce") or bytes(8)
    last = tables.items.last_seq()
    cases = ((nonce, 0, everything), (bytes(8), last, everything), (nonce, last, 0))
    for request, (life, cursor, due) in enumerate(cases, start=1):
        guest.say(Since(request, life, cursor, bytes(32)))
        stay.run_s(1)
        came = [one for one in guest.of(News) if one.request == request]
        count = sum(len(one.heads) + len(one.statements) + len(one.identities) for one in came)
        stay.hold(len(came) == 1 and count == due, "Since must bring what came after the cursor, of this life. (9.6)")
    wanted = tables.items.of_kind(ItemKind.HEAD)[0]
    guest.say(GetItems(9, [wanted.item_id, bytes(32)]), GetPages(10, 0))
    stay.run_s(1)
    stay.hold([one.heads for one in guest.of(Items)] == [[wanted.data]], "Items asked for by id must come. (9.6)")
    stay.end(guest)


def stated(stay: Stay) -> None:
    """A host tells a member that comes back its own last words."""
    member = stay.seat()
    guest = stay.visit(member)
    head = stay.head(member, stay.rev(), "my last word")
    guest.say(Put([head.signed.to_bytes()], [], []))
    stay.run_s(1)
    stay.end(guest)
    guest = stay.visit(member)
    own = [one.your_heads for one in guest.of(Status)]
    stay.hold(own == [[head.signed.to_bytes()]], "A member that comes back must be told its own last word. (9.3)")
    stay.end(guest)


def false_shape(stay: Stay) -> None:
    """A message whose fields are not what the table says, or that is too large, ends the session."""
    guest = stay.visit()
    guest.send(b"\x92" + bytes([Have.number]) + b"\xc4\x07" + bytes(7))
    stay.run_s(1)
    stay.refused(guest, Reason.WRONG_SHAPE, "A message that is not as the table says must end the session. (9.3)")
    guest = stay.visit()
    guest.send(bytes(MAX_MESSAGE_BYTES + 1))
    stay.run_s(5)
    stay.refused(guest, Reason.TOO_LARGE, "A message that is too large must end the session. (9.3)")


def pages_of_news(stay: Stay) -> None:
    """What is more than one answer may hold comes in several, each item once. From here on the host holds much."""
    author = stay.seat()
    guest = stay.visit(author)
    invitations = [
        statements.write(
            statements.INVITATION,
            member_id=author.member_id,
            epoch=1,
            revision=1,
            coop_id=stay.town.coop.coop_id,
            seed=author.seed,
            fields={"nonce": number.to_bytes(16, "big"), "until_ms": 0, "uses": 1},
        ).signed.to_bytes()
        for number in range(MAX_ITEMS + 100)
    ]
    guest.say(Put([], invitations[:MAX_ITEMS], []), Put([], invitations[MAX_ITEMS:], []))
    stay.run_s(5)
    guest.mute = True
    nonce = stay.host.tables.meta.get("store_nonce") or bytes(8)
    cursor, came = 0, list[bytes]()
    for request in (1, 2, 3):
        guest.say(Since(request, nonce, cursor, bytes(32)))
        stay.run_s(2)
        for news in (one for one in guest.of(News) if one.request == request):
            cursor = news.cursor
            came += [*news.heads, *news.statements, *news.identities]
    held = stay.host.tables.items.number()
    stay.hold(held > MAX_ITEMS and len(came) == len(set(came)) == held, "All news must come, each item once. (9.6)")
    stay.end(guest)


def false_items(stay: Stay) -> None:
    """Whoever is asked for one item and gives another is at fault."""
    author = stay.seat()
    lacking = stay.town.random.randbytes(32)
    other = stay.head(author, stay.rev(), "not what was asked for")

    def answer(guest: Guest, message: Message) -> None:
        if isinstance(message, Reconcile):
            guest.mute = True
            guest.say(recon.answer([*stay.host.tables.items.ids(), lacking], message, bytes(8), 0))
        elif isinstance(message, GetItems):
            guest.say(Items(message.request, [other.signed.to_bytes()], [], []))

    member = stay.seat()
    guest = stay.call(member, stay.me(member), on_heard=answer)
    stay.run_s(3)
    stay.hold(bool(guest.of(Reconcile)), "Who holds much and has no cursor must compare. (9.6)")
    stay.hold(bool(guest.of(GetItems)), "What only the peer holds must be asked for. (9.6)")
    stay.refused(guest, Reason.UNASKED, "Items that were not asked for must end the session. (9.6)")
    stay.hold(not stay.any_holds(other), "Items that were not asked for must not be taken in. (9.6)")


def spare(stay: Stay) -> None:
    """Whoever compares and finds that the peer lacks something gives it."""
    kept = stay.host.tables.items.of_kind(ItemKind.HEAD)[0]

    def answer(guest: Guest, message: Message) -> None:
        if isinstance(message, Reconcile):
            guest.mute = True
            ids = [one for one in stay.host.tables.items.ids() if one != kept.item_id]
            guest.say(recon.answer(ids, message, bytes(8), 0))

    member = stay.seat()
    guest = stay.call(member, stay.me(member), on_heard=answer)
    stay.run_s(3)
    stay.hold(guest.was_told(kept.data), "What only the asker holds must go to the peer. (9.6)")
    stay.end(guest)


RULES = (
    another_key,
    another_coop,
    another_version,
    own_echo,
    replay,
    reflection,
    never_ready,
    too_early,
    unasked,
    no_answers,
    silence,
    echo,
    quiet,
    names_only,
    empty_names,
    answers,
    stated,
    false_shape,
    pages_of_news,
    false_items,
    spare,
)
