"""Publishing: when a head may leave, and what every kind of restored or copied folder does."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from coopnode import desk, highwater
from coopnode.core import Core, News
from coopnode.errors import NodeError
from coopnode.publisher import Phase
from coopnode.store import StoreError, Tables
from protocol import head as heads
from protocol.head import NO_HASH, Version
from protocol.items import ItemKind
from protocol.limits import MAX_AHEAD_MS, MAX_OPS
from tests.node.scenes import Clock, Net, own_versions, signed_head


@pytest.fixture
def trio(net: Net) -> Net:
    """Three members; anna has published once, besides the profile that every member has."""
    net.found("anna", "bert", "cora")
    net.put("anna", {"flour": "first"})
    return net


def never_twice(net: Net, name: str) -> None:
    """No version was ever used for two heads, of all that has left any node."""
    seen: dict[Version, bytes] = {}
    for version, head_id in own_versions(net.sent, net[name].member_id):
        assert seen.setdefault(version, head_id) == head_id, version


def phase_of(net: Net, name: str = "anna") -> Phase:
    return net[name].phase


def restart(net: Net, name: str, clock: Clock | None = None) -> None:
    if name in net.shops:
        net.stop(name)
    net.start(name, clock)


# ── in quiet times ────────────────────────────────────────────────────────────────────────────────────


def test_a_founder_alone_publishes_at_once_and_after_a_restart(net: Net) -> None:
    net.found("anna")
    net.put("anna", {"flour": "first"})
    assert phase_of(net) is Phase.READY
    restart(net, "anna")
    assert phase_of(net) is Phase.WAITING
    net.look("anna")
    net.put("anna", {"flour": "second"})
    head = net["anna"].own_head
    assert head is not None
    assert (head.version.epoch, head.record_count, net["anna"].titles()) == (0, 2, {"flour": "second"})


def test_after_a_start_heads_wait_for_the_answers_of_the_others(trio: Net) -> None:
    before = trio["anna"].version
    restart(trio, "anna")
    trio.put("anna", {"flour": "second"})
    assert (trio["anna"].phase, trio["anna"].version) == (Phase.WAITING, before)
    trio.meet("anna", "bert")
    assert (trio["anna"].phase, trio["anna"].core.publisher.answers) == (Phase.WAITING, 1)
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first"}
    trio.meet("anna", "cora")
    assert trio["anna"].phase is Phase.READY
    assert trio["bert"].titles(trio["anna"]) == {"flour": "second"}
    assert trio["anna"].version.epoch == 0, "nothing was lost, so the epoch goes on"


def test_the_owner_may_publish_without_answers(trio: Net) -> None:
    restart(trio, "anna")
    trio.put("anna", {"flour": "second"})
    trio.do("anna", desk.publish_override)
    assert trio["anna"].phase is Phase.READY
    assert trio["cora"].titles(trio["anna"]) == {"flour": "second"}


def test_three_answers_are_enough_however_many_members_there_are(net: Net) -> None:
    net.found("anna", "bert", "cora", "dora", "emil", "fine")
    anna = net["anna"].core
    assert anna.store.read(anna.publisher.needed, anna.membership) == 3
    restart(net, "anna")
    net.meet("anna", "bert", "cora")
    assert phase_of(net) is Phase.WAITING
    net.meet("anna", "dora")
    assert phase_of(net) is Phase.READY


def _say_contact(tables: Tables, core: Core, *, urls: list[str]) -> tuple[None, News]:
    return None, core.say_contact(tables, urls)


@pytest.mark.parametrize("says_where", [False, True])
def test_who_only_dials_out_waits_for_nobody_that_it_cannot_dial(trio: Net, says_where: bool) -> None:
    """Bert is found somewhere. Cora is nowhere; if Anna is nowhere either, the two never meet."""
    for name, urls in (("anna", ["http://192.0.2.1"] * says_where), ("bert", ["http://192.0.2.2"]), ("cora", [])):
        trio.do(name, partial(_say_contact, urls=urls))
    trio.settle()
    restart(trio, "anna")
    trio.meet("anna", "bert")
    assert phase_of(trio) is (Phase.WAITING if says_where else Phase.READY)
    trio.meet("anna", "cora")
    assert phase_of(trio) is Phase.READY


def test_an_edit_that_changes_nothing_makes_no_head(trio: Net) -> None:
    before = trio["anna"].own_head
    sent = len(trio.sent)
    trio.put("anna", {"flour": "first", "nobody": None})
    assert trio["anna"].own_head == before
    assert len(trio.sent) == sent
    assert trio["anna"].core.store.read(lambda tables: tables.pending.count()) == 0


def test_one_head_carries_a_thousand_operations_and_one_more_makes_followers_walk(trio: Net) -> None:
    trio.put("anna", {f"sku-{number}": "title" for number in range(MAX_OPS)})
    head = trio["anna"].own_head
    assert head is not None
    assert (head.ops_count, head.record_count) == (MAX_OPS, MAX_OPS + 2)
    assert head.since_rev > 0
    assert head.prev != NO_HASH
    trio.put("anna", {f"sku-{number}": "other" for number in range(MAX_OPS + 1)})
    head = trio["anna"].own_head
    assert head is not None
    assert (head.ops_count, head.since_rev, head.record_count) == (0, 0, MAX_OPS + 3)
    assert trio["bert"].titles(trio["anna"]) == trio["anna"].titles()


def test_revs_rise_when_the_clock_stands_still_or_goes_back(trio: Net) -> None:
    versions = [trio["anna"].version]
    for number in range(3):
        trio.clock.tick(-1)
        trio.put("anna", {"flour": f"edition {number}"})
        versions.append(trio["anna"].version)
    assert [version.rev - versions[0].rev for version in versions] == [0, 1, 2, 3]


def test_a_clock_that_had_run_ahead_goes_on_at_the_next_epoch(trio: Net) -> None:
    trio.stop("anna")
    ahead = Clock(trio.clock.now_us + MAX_AHEAD_MS * 1_000 + 60_000_000)
    trio.start("anna", ahead)
    trio.meet("anna")
    trio.put("anna", {"flour": "dated ahead"})
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first"}, "others wait for its time"
    ahead.now_us = trio.clock.now_us
    trio.put("anna", {"flour": "dated right"})
    assert trio["anna"].version == (1, trio.clock.now_us)
    assert trio["bert"].titles(trio["anna"]) == {"flour": "dated right"}
    never_twice(trio, "anna")


# ── the high-water mark ───────────────────────────────────────────────────────────────────────────────


def mark_of(net: Net, name: str) -> Version | None:
    mark = highwater.load(net.folder(name).high_water)
    return None if mark is None else mark.version


def test_the_mark_is_on_the_disk_before_anybody_can_read_the_head(trio: Net) -> None:
    anna = trio["anna"].core
    seen = []

    def publish(tables: Tables) -> News:
        tables.pending.add([("other", b"key", b"\xa1x")])
        news = anna.publish(tables)
        seen.append((mark_of(trio, "anna"), news.published[0].head.version))
        assert anna.store.read(anna.publisher.own_head) != news.published[0].head, "not committed yet"
        return news

    anna.write(publish)
    [(marked, signed)] = seen
    assert marked == signed


def test_a_crash_between_mark_and_commit_costs_an_epoch_and_no_more(trio: Net) -> None:
    anna = trio["anna"].core
    before = trio["anna"].version

    def publish_and_die(tables: Tables) -> None:
        tables.pending.add([("other", b"key", b"\xa1x")])
        anna.publish(tables)
        raise KeyboardInterrupt

    trio.clock.tick()
    with pytest.raises(KeyboardInterrupt):
        anna.write(publish_and_die)
    marked = mark_of(trio, "anna")
    assert marked is not None
    assert marked > before == trio["anna"].version
    restart(trio, "anna")
    trio.meet("anna")
    assert trio["anna"].version.epoch == before.epoch + 1
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first"}


def test_a_mark_that_is_behind_the_database_is_brought_up_to_date_at_the_start(trio: Net) -> None:
    """As older versions left it after a crash: peers are served from the database."""
    old = highwater.load(trio.folder("anna").high_water)
    trio.put("anna", {"flour": "second"})
    assert old is not None
    highwater.save(trio.folder("anna").high_water, old)
    restart(trio, "anna")
    assert mark_of(trio, "anna") == trio["anna"].version
    trio.meet("anna")
    assert trio["anna"].version.epoch == 0


def test_a_mark_that_cannot_be_written_holds_the_head_back(trio: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full")

    before = trio["anna"].version
    monkeypatch.setattr(highwater, "save", full)
    with pytest.raises(StoreError):
        trio.put("anna", {"flour": "second"})
    assert trio["anna"].version == before
    monkeypatch.undo()
    trio.put("anna", {"flour": "third"})
    assert trio["bert"].titles(trio["anna"]) == {"flour": "third"}


def nonce_of(net: Net, name: str) -> bytes | None:
    return net[name].core.store.read(lambda tables: tables.meta.get("store_nonce"))


@pytest.mark.parametrize("how", ["missing", "damaged", "another nonce", "higher"])
def test_a_mark_that_does_not_fit_means_a_restored_database(trio: Net, how: str) -> None:
    trio.stop("anna")
    path = trio.folder("anna").high_water
    content = json.loads(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(b'{"store_nonce": 5')
    else:
        content.update({"store_nonce": "00" * 8} if how == "another nonce" else {"rev": content["rev"] + 1})
        path.write_text(json.dumps(content))
    trio.start("anna")
    nonce, bert = nonce_of(trio, "anna"), trio["bert"].member_id
    assert trio["anna"].core.store.read(lambda tables: tables.peers.cursor(bert)) is None
    assert nonce is not None
    assert nonce.hex() != content["store_nonce"], "peers' cursors into this store are void"
    trio.clock.tick()
    trio.meet("anna")
    assert trio["anna"].version == (1, trio.clock.now_us), "the next epoch, although nothing has changed"
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first"}
    restart(trio, "anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "second"})
    assert trio["anna"].version.epoch == 1, "and only once"
    never_twice(trio, "anna")


def test_a_failed_transaction_does_not_leave_a_restored_node_ready(trio: Net) -> None:
    """The next epoch is begun in the transaction: if that fails, the phase must not have moved on."""
    trio.stop("anna")
    trio.folder("anna").high_water.unlink()
    anna = trio.start("anna").core

    def answered_and_die(tables: Tables) -> None:
        for name in ("bert", "cora"):
            anna.publisher.answered(tables, trio[name].member_id, anna.membership)
        assert anna.publisher.phase is Phase.READY
        raise StoreError("The disk is full")

    with pytest.raises(StoreError):
        anna.write(answered_and_die)
    assert anna.publisher.phase is Phase.WAITING
    trio.meet("anna")
    assert trio["anna"].version.epoch == 1


# ── restored folders ──────────────────────────────────────────────────────────────────────────────────


def test_a_restored_database_takes_back_what_the_others_know(trio: Net) -> None:
    trio.save("anna", "backup")
    trio.start("anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "second", "rye": "new"})
    said = trio["anna"].version
    trio.stop("anna")
    trio.restore("anna", "backup", only=["node.db"])
    anna = trio.start("anna")
    trio.put("anna", {"salt": "edited after the restore"})
    assert anna.titles() == {"flour": "first"}
    trio.meet("anna", "bert")
    assert anna.titles() == {"flour": "second", "rye": "new"}
    trio.meet("anna", "cora")
    assert anna.titles() == {"flour": "second", "rye": "new", "salt": "edited after the restore"}
    assert anna.version > Version(said.epoch + 1, 0)
    assert trio["cora"].titles(anna) == anna.titles()
    never_twice(trio, "anna")


def test_a_whole_folder_that_was_restored_is_behind_when_peers_know_more(trio: Net) -> None:
    trio.save("anna", "backup")
    trio.start("anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "second"})
    trio.stop("anna")
    trio.restore("anna", "backup")
    anna = trio.start("anna")
    data = trio["bert"].core.store.read(lambda tables: tables.items.in_slot(ItemKind.HEAD, anna.member_id + b"\0"))
    assert data is not None
    anna.take(ItemKind.HEAD, data)  # the head is here, its records are not yet
    assert anna.phase is Phase.BEHIND
    assert anna.core.publisher.target is not None
    trio.put("anna", {"salt": "meanwhile"})
    assert anna.titles() == {"flour": "first"}, "nothing is published on top of an old state"
    restart(trio, "anna")
    assert trio["anna"].phase is Phase.BEHIND, "a restart does not forget it"
    trio.meet("anna")
    assert trio.pull("anna", heads.read(data))
    assert trio["anna"].titles() == {"flour": "second", "salt": "meanwhile"}
    assert trio["anna"].version.epoch == 1
    never_twice(trio, "anna")


def test_a_whole_folder_that_was_restored_goes_on_when_nobody_knows_more(trio: Net) -> None:
    trio.save("anna", "backup")
    trio.restore("anna", "backup")
    trio.start("anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "second"})
    assert trio["anna"].version.epoch == 0


def test_the_owner_may_give_up_a_state_that_cannot_be_had(trio: Net) -> None:
    anna = trio["anna"]
    restart(trio, "anna")
    anna = trio["anna"]
    lost = signed_head(anna, Version(0, trio.clock.now_us + 1), state_root=b"r" * 32, record_count=1, record_bytes=9)
    anna.take(ItemKind.HEAD, lost.signed.to_bytes())
    assert anna.phase is Phase.BEHIND
    trio.do("anna", desk.publish_override)
    assert (anna.phase, anna.version.epoch) == (Phase.READY, 1)
    assert trio["bert"].titles(anna) == {"flour": "first"}


# ── twins ─────────────────────────────────────────────────────────────────────────────────────────────


def twins(net: Net) -> None:
    """Copy anna's folder and start both, each unknown to the other."""
    net.save("anna", "copy")
    for name in ("anna", "copy"):
        net.start(name)
        net.away.add({"anna": "copy", "copy": "anna"}[name])
        net.meet(name, "bert", "cora")
        net.away.clear()


def test_twins_halt_each_other_and_one_takes_over(trio: Net) -> None:
    twins(trio)
    assert [trio[name].phase for name in ("anna", "copy")] == [Phase.READY] * 2
    trio.clock.tick()
    trio.put("anna", {"flour": "of anna"})
    assert trio["copy"].phase is Phase.HALTED
    assert "another node published for this member" in trio["copy"].core.publisher.why
    trio.put("copy", {"rye": "of the copy"})
    assert trio["bert"].titles(trio["anna"]) == {"flour": "of anna"}
    with pytest.raises(NodeError, match="takeover"):
        trio.do("copy", desk.vote_propose, title="T", closes_in_ms=60_000)
    restart(trio, "copy")
    assert trio["copy"].phase is Phase.HALTED, "a restart does not change the owner's mind"
    trio.away.add("anna")
    trio.do("copy", desk.takeover)
    trio.meet("copy")
    head = trio["copy"].own_head
    assert head is not None
    trio.pull("copy", head)
    assert (trio["copy"].phase, trio["copy"].version.epoch) == (Phase.READY, 1)
    assert trio["cora"].titles(trio["copy"]) == {"flour": "of anna", "rye": "of the copy"}
    trio.away.clear()
    trio.meet("anna")
    assert trio["anna"].phase is Phase.HALTED
    never_twice(trio, "anna")


def test_edits_wait_through_a_halt(trio: Net) -> None:
    anna = trio["anna"].core
    anna.write(anna.publisher.halt, "for a test")
    trio.put("anna", {"rye": "waits"})
    restart(trio, "anna")
    trio.meet("anna")
    assert trio["anna"].phase is Phase.HALTED
    assert trio["anna"].titles() == {"flour": "first"}
    trio.do("anna", desk.takeover)
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first", "rye": "waits"}
    assert trio["anna"].version.epoch == 1


def test_an_old_own_head_that_comes_round_again_is_no_twin(trio: Net) -> None:
    anna = trio["anna"]
    old = anna.own_head
    assert old is not None
    trio.put("anna", {"flour": "second"})
    for data in (old.signed.to_bytes(), signed_head(anna, Version(0, 5)).signed.to_bytes()):
        trio.hand_in("anna", "bert", ItemKind.HEAD, data)
    assert anna.phase is Phase.READY


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_begins_a_new_epoch_at_all_members(trio: Net) -> None:
    shown = trio.do("anna", desk.key_rotate)
    assert shown["epoch"] == 1
    assert trio["anna"].version.epoch == 1
    assert trio["bert"].titles(trio["anna"]) == {"flour": "first"}
    trio.put("anna", {"flour": "with the new key"})
    assert trio["cora"].titles(trio["anna"]) == {"flour": "with the new key"}
    restart(trio, "anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "after a restart"})
    assert trio["cora"].titles(trio["anna"]) == {"flour": "after a restart"}
    assert trio["cora"].refusals() == {}


def test_a_crash_after_the_key_file_was_written_does_not_lock_the_member_out(trio: Net) -> None:
    database = trio.folder("anna").database
    trio.stop("anna")
    shutil.copy2(database, trio.path / "before.db")
    trio.start("anna")
    trio.meet("anna")
    trio.do("anna", desk.key_rotate)
    trio.stop("anna")
    mark = highwater.load(trio.folder("anna").high_water)
    shutil.copy2(trio.path / "before.db", database)
    assert mark is not None
    trio.start("anna")
    trio.meet("anna")
    trio.put("anna", {"flour": "with the new key"})
    assert trio["bert"].titles(trio["anna"]) == {"flour": "with the new key"}
    held = trio["anna"].core.need_membership().identity_of(trio["anna"].member_id)
    assert held is not None
    assert len(held.log) == 2
    never_twice(trio, "anna")
