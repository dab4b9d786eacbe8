"""The minute book among real cores: invitations, admissions, and tellers that were restored."""

from __future__ import annotations

from typing import Any

import pytest

from coopnode import desk
from coopnode.core import Core
from coopnode.errors import BadInput, NodeError
from coopnode.ingest import Fate
from coopnode.publisher import Phase
from coopnode.store import Tables
from protocol import invitation, minutes, statements
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.items import ItemKind
from protocol.messages import GetPages, Pages
from tests.node.scenes import Net, said, spoilt

DAY_MINUTES = 24 * 60


def roots(net: Net) -> set[bytes]:
    return {shop.core.need_membership().roster.state_hash() for shop in net.shops.values()}


def members(net: Net, name: str) -> int:
    return len(net[name].core.need_membership().roster.tellers)


def kinds_sent(net: Net, kind: str) -> list[statements.Statement]:
    found = [statements.read(item.data) for item in net.sent if item.kind is ItemKind.STATEMENT]
    return [one for one in found if one.kind == kind]


def one_final_a_slot(net: Net) -> None:
    signed: dict[tuple[bytes, int], bytes] = {}
    for final in kinds_sent(net, statements.FINAL):
        key = (final.member_id, final.fields["slot"])
        assert signed.setdefault(key, final.fields["page"]) == final.fields["page"]


def level(net: Net) -> None:
    """Let everybody meet everybody, until nothing moves any more."""
    for _ in range(3):
        for name in net.here():
            net.meet(name)
        net.settle()


# ── founding ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_founder_is_alone_and_may_found_once(net: Net) -> None:
    net.found("anna")
    held = net["anna"].core.need_membership()
    assert (held.roster.name, held.roster.slot, held.roster.page_id) == ("North", 0, held.coop_id)
    with pytest.raises(NodeError, match="belongs to the co-op 'North' already"):
        net.do("anna", desk.coop_found, name="South")


def test_a_coop_needs_a_name(net: Net) -> None:
    net.set_up("anna")
    with pytest.raises(BadInput, match="cannot be founded"):
        net.do("anna", desk.coop_found, name="")
    with pytest.raises(NodeError, match="belongs to no co-op yet"):
        net.do("anna", desk.coop_invite)
    net.do("anna", desk.coop_found, name="North")
    assert net["anna"].phase is Phase.READY


# ── joining ───────────────────────────────────────────────────────────────────────────────────────────


def test_five_join_one_after_the_other_and_all_hold_the_same_book(net: Net) -> None:
    net.found("anna", "bert", "cora", "dora", "emil")
    assert {shop.slot for shop in net.shops.values()} == {4}
    assert len(roots(net)) == 1
    level(net)
    assert len({shop.frontier for shop in net.shops.values()}) == 1
    one_final_a_slot(net)
    left = net["anna"].core.store.read(lambda tables: [item.data for item in tables.items.of_kind(ItemKind.STATEMENT)])
    assert {statements.read(data).kind for data in left} <= {statements.INVITATION, statements.CONTACT}


def test_applications_that_come_at_the_same_time_all_find_a_page(net: Net) -> None:
    net.found("anna", "bert", "cora")
    text = net.invite("anna", uses=3)
    for newcomer, via in (("dora", "anna"), ("emil", "bert"), ("fine", "cora")):
        net.set_up(newcomer)
        net.away.add(newcomer)
        outcomes = net.join(newcomer, text, via)
        assert [one.fate for one in outcomes] == [Fate.KNOWN, Fate.ACCEPTED]
    net.away.clear()
    level(net)
    assert [members(net, name) for name in net.shops] == [6] * 6
    assert len(roots(net)) == 1
    assert len({shop.frontier for shop in net.shops.values()}) == 1
    one_final_a_slot(net)


def test_an_invitation_is_used_up(net: Net) -> None:
    net.found("anna")
    text = net.invite("anna", uses=1)
    net.set_up("bert")
    assert net.join("bert", text)[1].fate is Fate.ACCEPTED
    net.settle()
    net.set_up("cora")
    outcome = net.join("cora", text)[1]
    assert (outcome.fate, outcome.reason) == (Fate.REFUSED, Reason.INVITATION_VOID)
    assert members(net, "bert") == 2


def test_what_lost_the_race_for_an_invitation_leaves_no_trace(net: Net) -> None:
    """Two apply while one teller is away: one is admitted, and the other's application must not stay on some."""
    net.found("anna", "bert")
    text = net.invite("anna", uses=1)
    net.away.add("bert")
    for newcomer in ("cora", "dora"):
        net.set_up(newcomer)
        net.away.add(newcomer)
        assert net.join(newcomer, text, "anna")[1].fate is Fate.ACCEPTED
    net.away.clear()
    for _ in range(3):
        net.meet("anna", "bert")
        for newcomer in ("cora", "dora"):
            net.fetch_pages(newcomer, "anna")
    admitted = [name for name in ("cora", "dora") if net[name].core.is_member]
    assert len(admitted) == 1
    net.away.update({"cora", "dora"} - set(admitted))
    level(net)
    assert len({net[name].frontier for name in net.here()}) == 1


def test_an_invitation_expires(net: Net) -> None:
    net.found("anna")
    text = net.invite("anna", days=1)
    net.clock.tick(DAY_MINUTES + 10)
    net.set_up("bert")
    net.join("bert", text)
    assert members(net, "anna") == 1, "the page would be dated after the last moment"
    text = net.invite("anna", days=1)
    invited = invitation.from_text(text)
    application = net["bert"].core.write(lambda tables: net["bert"].core.application(tables, invited))
    net.hand_in("anna", None, ItemKind.STATEMENT, application)
    assert members(net, "anna") == 2


def test_nobody_joins_with_an_application_of_somebody_else(net: Net) -> None:
    net.found("anna")
    text = net.invite("anna", uses=5)
    bert, cora = net.set_up("bert"), net.set_up("cora")
    net.away.update(["bert", "cora"])
    invited = invitation.from_text(text)
    stranger = bert.core.keys
    for shop, own in ((cora, {"log": list(stranger.log)}), (cora, {"invitation": bytes(32)})):
        fields: dict[str, Any] = {
            "invitation": invited.statement.statement_id,
            "name": "X",
            "log": list(shop.core.keys.log),
            **own,
        }
        data = said(shop, statements.APPLICATION, coop=invited.coop_id, **fields)
        [outcome] = net.hand_in("anna", None, ItemKind.STATEMENT, data)
        assert outcome.fate in (Fate.PARKED, Fate.REFUSED)
    assert members(net, "anna") == 1
    good = said(
        cora,
        statements.APPLICATION,
        coop=invited.coop_id,
        invitation=invited.statement.statement_id,
        name="Cora",
        log=list(cora.core.keys.log),
    )
    assert net.hand_in("anna", None, ItemKind.STATEMENT, spoilt(good))[0].reason is Reason.BAD_SIGNATURE
    assert net.hand_in("anna", None, ItemKind.STATEMENT, good)[0].fate is Fate.ACCEPTED
    assert members(net, "anna") == 2


# ── verifying ─────────────────────────────────────────────────────────────────────────────────────────


def bundle_and_pages(net: Net) -> tuple[bytes, Pages]:
    bundle = net["anna"].core.store.read(lambda tables: tables.book.genesis())
    pages = net.ask("anna", GetPages(0, 0))
    assert bundle is not None
    assert isinstance(pages, Pages)
    return bundle, pages


def adopt(core: Core, bundle: bytes, coop_id: bytes, pages: list[bytes], log: list[bytes]) -> Refused | None:
    def begin(tables: Tables) -> Refused | None:
        core.adopt_genesis(tables, bundle, coop_id)
        _, refused = core.adopt_pages(tables, pages, log)
        return refused

    return core.write(begin)


def test_a_joiner_verifies_everything_from_the_coop_id_alone(net: Net) -> None:
    net.found("anna", "bert", "cora")
    bundle, pages = bundle_and_pages(net)
    coop_id = net["anna"].core.need_membership().coop_id
    new = net.set_up("new").core
    assert adopt(new, bundle, coop_id, pages.pages, pages.identities) is None
    assert new.need_membership().roster.state_hash() == net["anna"].core.need_membership().roster.state_hash()


def test_a_charter_of_another_coop_is_refused_and_leaves_nothing(net: Net) -> None:
    net.found("anna")
    bundle, _ = bundle_and_pages(net)
    coop_id = net["anna"].core.need_membership().coop_id
    new = net.set_up("new").core
    for wrong, reason in ((bytes(32), Reason.WRONG_COOP), (coop_id[::-1], Reason.WRONG_COOP)):
        with pytest.raises(Refused) as caught:
            adopt(new, bundle, wrong, [], [])
        assert caught.value.reason is reason
    body, [signature], log = decode(bundle, len(bundle))
    with pytest.raises(Refused) as caught:
        adopt(new, encode([body, [spoilt(signature)], log]), coop_id, [], [])
    assert caught.value.reason is Reason.BAD_SIGNATURE
    assert new.membership is None
    assert adopt(new, bundle, coop_id, [], []) is None


def test_forged_pages_are_refused_and_those_before_them_stay(net: Net) -> None:
    net.found("anna", "bert", "cora")
    bundle, pages = bundle_and_pages(net)
    coop_id = net["anna"].core.need_membership().coop_id
    first, second = pages.pages
    official = minutes.read_official(second)
    missing = minutes.write_official(official.page, official.finals[:1])
    foreign = minutes.write_official(official.page, minutes.read_official(first).finals)
    cases = [
        ([first, missing], 1, Reason.NOT_ENOUGH_FINALS),
        ([first, foreign], 1, Reason.WRONG_SLOT),
        ([second], 0, Reason.WRONG_SLOT),
        ([first[:-1] + bytes([first[-1] ^ 1]), second], 0, None),
    ]
    for number, (data, slot, reason) in enumerate(cases):
        new = net.set_up(f"new {number}").core
        refused = adopt(new, bundle, coop_id, data, pages.identities)
        assert refused is not None
        assert reason is None or refused.reason is reason
        assert new.need_membership().roster.slot == slot
        news, refused = new.write(new.adopt_pages, pages.pages, pages.identities)
        assert refused is None
        assert news.roster_changed
        assert new.need_membership().roster.slot == 2


# ── tellers ───────────────────────────────────────────────────────────────────────────────────────────


def apply_to(net: Net, newcomer: str, via: str) -> None:
    """Hand in an application while the newcomer's own node stays away."""
    text = net.invite(via)
    net.set_up(newcomer)
    net.away.add(newcomer)
    net.join(newcomer, text, via)


def test_a_page_waits_for_a_teller_that_is_away(net: Net) -> None:
    net.found("anna", "bert", "cora")
    net.away.add("cora")
    apply_to(net, "dora", "anna")
    assert {net[name].slot for name in ("anna", "bert")} <= {2}
    net.away.discard("cora")
    level(net)
    assert {net[name].slot for name in ("anna", "bert", "cora")} == {3}
    one_final_a_slot(net)


def test_a_restarted_teller_signs_nothing_before_it_is_ready(net: Net) -> None:
    net.found("anna", "bert", "cora")
    net.stop("bert")
    net.start("bert")
    net.away.add("bert")
    apply_to(net, "dora", "anna")
    before = len(net.sent)
    items = net["anna"].core.store.read(lambda tables: tables.items.of_kind(ItemKind.STATEMENT))
    net["bert"].take(ItemKind.STATEMENT, *(item.data for item in items))
    assert net["bert"].phase is Phase.WAITING
    assert len(net.sent) == before, "it has the draft or could write it, and says nothing"
    net.away.discard("bert")
    level(net)
    assert net["bert"].slot == 3
    one_final_a_slot(net)


@pytest.mark.parametrize("name", ["anna", "bert", "cora"])
def test_a_restored_teller_never_signs_two_finals_of_one_slot(net: Net, name: str) -> None:
    """Whoever of the three it is, one of them the secretary: what it has said comes back to it first."""
    net.found("anna", "bert", "cora")
    others = [one for one in ("anna", "bert", "cora") if one != name]
    net.save(name, "backup")
    net.start(name)
    level(net)
    net.away.add(others[1])
    apply_to(net, "dora", others[0])  # all but one have signed
    net.stop(name)
    net.restore(name, "backup")
    net.start(name)
    net.clock.tick()
    net.away.discard(others[1])
    level(net)
    assert {net[one].slot for one in ("anna", "bert", "cora")} == {3}
    one_final_a_slot(net)
    drafts = {page.fields["slot"]: page.statement_id for page in kinds_sent(net, statements.PAGE)}
    assert len({one.statement_id for one in kinds_sent(net, statements.PAGE)}) == len(drafts)


def test_a_teller_that_knows_its_final_from_others_signs_no_other_page(net: Net) -> None:
    net.found("anna", "bert")
    anna, bert = net["anna"], net["bert"]
    slot = anna.slot + 1
    rival = b"another page" + bytes(20)
    own = said(bert, statements.FINAL, revision=2**60, slot=slot, page=rival)
    assert bert.take(ItemKind.STATEMENT, own)[0].fate is Fate.ACCEPTED
    before = len(kinds_sent(net, statements.FINAL))
    apply_to(net, "cora", "anna")
    level(net)
    mine = [one for one in kinds_sent(net, statements.FINAL)[before:] if one.member_id == bert.member_id]
    assert {one.fields["page"] for one in mine if one.fields["slot"] == slot} == {rival}


def test_a_page_dated_ahead_is_not_signed_until_its_time(net: Net) -> None:
    net.found("anna", "bert")
    secretary = net["anna"].core.need_membership().roster.secretary(2)
    late = "anna" if net["anna"].member_id == secretary else "bert"
    on_time = "bert" if late == "anna" else "anna"
    net.stop(late)
    net.start(late, type(net.clock)(net.clock.now_us + 20 * 60_000_000))
    net.meet(late)
    apply_to(net, "cora", on_time)
    assert net[on_time].slot == 1
    net.clock.tick(16)
    net.look(on_time)
    assert net[on_time].slot == 2


def test_finals_without_their_draft_are_forgotten_with_the_page(net: Net) -> None:
    """A node that heard a final and fetched the page by number must not keep the final for ever."""
    net.found("anna", "bert", "cora")
    bundle, pages = bundle_and_pages(net)
    new = net.set_up("new").core
    assert adopt(new, bundle, net["anna"].core.need_membership().coop_id, pages.pages[:1], pages.identities) is None
    finals = minutes.read_official(pages.pages[1]).finals
    items = [(ItemKind.STATEMENT, one.signed.to_bytes()) for one in finals]
    outcomes, _ = new.write(new.take, items)
    assert [one.fate for one in outcomes] == [Fate.ACCEPTED] * 2
    new.write(new.adopt_pages, pages.pages[1:], pages.identities)
    assert new.need_membership().roster.slot == 2
    left = new.store.read(lambda tables: tables.items.of_kind(ItemKind.STATEMENT))
    assert [one for one in left if statements.read(one.data).kind == statements.FINAL] == []
