"""Walking the trie from what we hold to what an author has signed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import chunks, pull, trie
from protocol.encoding import encode
from protocol.errors import Reason, Refused
from protocol.head import Version
from protocol.messages import GetOps, Nodes, WalkTrie
from protocol.pull import Walk
from protocol.scope import Wants
from tests.protocol.builders import QUICK, Catalogue, finish, key_hex, listing, listings, member, refused, secret

AUTHOR = member(1)


@cache
def author(number: int = 3000) -> Catalogue:
    return Catalogue({"listing": listings(number), "stock": {b"sku-%d\0" % one: b"\x01" for one in range(20)}})


def assert_same(copy: Catalogue, original: Catalogue) -> None:
    assert copy.collections == original.collections
    assert copy.state_root == original.state_root


def test_a_cold_copy_becomes_the_authors_state() -> None:
    copy = Catalogue()
    walk = copy.walk_to(author().head(AUTHOR))
    assert not walk.done
    finish(walk, copy, author().serve)
    assert_same(copy, author())
    assert walk.missing_count == 0
    assert walk.questions() == []


def test_an_equal_copy_asks_for_the_list_of_collections_and_nothing_else() -> None:
    copy = Catalogue(author().collections)
    assert finish(copy.walk_to(author().head(AUTHOR)), copy, author().serve) == 1


def test_an_empty_state_empties_the_copy() -> None:
    copy = Catalogue(author().collections)
    assert finish(copy.walk_to(Catalogue().head(AUTHOR)), copy, Catalogue().serve) == 1
    assert copy.collections == {}


def test_a_collection_that_is_gone_goes_and_a_new_one_comes() -> None:
    copy = Catalogue({**author().collections, "policy": {b"old": b"\x80"}})
    target = Catalogue({"listing": author().collections["listing"], "storefront": {b"new": b"\x80"}})
    finish(copy.walk_to(target.head(AUTHOR)), copy, target.serve)
    assert_same(copy, target)
    assert set(copy.collections) == {"listing", "storefront"}


def test_progress_counts_the_records_still_to_come() -> None:
    copy = Catalogue()
    walk = copy.walk_to(author().head(AUTHOR))
    assert walk.missing_count == 0
    state = walk.questions()[0]
    walk.receive(state, author().serve(state))
    assert walk.missing_count == 3020


def changed(original: Catalogue, chance: random.Random, number: int) -> Catalogue:
    """Return a copy with records added, changed and removed at random."""
    records = {name: dict(rows) for name, rows in original.collections.items()}
    for _ in range(number):
        kind = chance.choice(["add", "change", "remove"])
        name = chance.choice(sorted(records))
        if kind == "add":
            records[name][b"new-%d" % chance.randrange(10**6)] = b"\x02"
        elif records[name]:
            key = chance.choice(sorted(records[name]))
            if kind == "change":
                records[name][key] = b"\x03%d" % chance.randrange(10**6)
            else:
                del records[name][key]
    return Catalogue(records)


def only(*names: str) -> Wants:
    return lambda name, _: name in names


def test_a_walk_of_a_part_asks_for_that_part_and_keeps_what_was_signed_of_the_rest() -> None:
    target, copy = author(), Catalogue()
    walk = Walk(target.head(AUTHOR), {}, copy.summary, only("stock", "policy"))
    asked: list[str] = []

    def peer(question: WalkTrie) -> Nodes:
        asked.append(question.collection)
        return target.serve(question)

    finish(walk, copy, peer)
    assert asked == ["", "stock"]
    assert copy.collections == {"stock": target.collections["stock"]}
    assert walk.elsewhere == {"listing": target.summaries()["listing"]}
    # What is here and what was signed of the rest give the signed root, as the whole would.
    assert trie.state_root({**walk.elsewhere, **copy.summaries()}) == walk.head.state_root


def test_a_part_that_nobody_wants_any_more_is_left_alone() -> None:
    copy = Catalogue({"listing": listings(5), "old": {b"a": b"1"}})
    walk = Walk(author().head(AUTHOR), copy.summaries(), copy.summary, only("stock"))
    finish(walk, copy, author().serve)
    assert set(copy.collections["listing"]) == set(listings(5)), "dropping it is the caller's part"
    assert "old" not in copy.collections, "it is no longer in the state, so it goes"
    assert set(walk.elsewhere) == {"listing"}


def test_a_part_is_chosen_by_what_was_signed_of_it() -> None:
    walk = Walk(author().head(AUTHOR), {}, Catalogue().summary, lambda _, signed: signed.count <= 20)
    finish(walk, Catalogue(), author().serve)
    assert set(walk.elsewhere) == {"listing"}


@pytest.mark.parametrize("nodes_above", [16, 100, 1024])
@pytest.mark.parametrize("number", [1, 30, 400])
def test_a_copy_that_is_behind_catches_up(number: int, nodes_above: int) -> None:
    chance = random.Random(number)
    copy = changed(author(), chance, number)
    finish(
        copy.walk_to(author().head(AUTHOR)), copy, lambda question: author().serve(question, nodes_above=nodes_above)
    )
    assert_same(copy, author())


@QUICK
@given(
    st.dictionaries(st.binary(min_size=1, max_size=2), st.binary(max_size=2), max_size=150),
    st.dictionaries(st.binary(min_size=1, max_size=2), st.binary(max_size=2), max_size=150),
    st.sampled_from([1, 3, 256]),
)
def test_any_copy_becomes_any_state_however_short_the_answers(
    theirs: dict[bytes, bytes], ours: dict[bytes, bytes], most: int
) -> None:
    target, copy = Catalogue({"listing": theirs}), Catalogue({"listing": ours, "stock": ours})
    finish(copy.walk_to(target.head(AUTHOR)), copy, lambda one: target.serve(one, most=most, nodes_above=16))
    assert_same(copy, target)


def test_only_what_differs_is_fetched() -> None:
    copy = Catalogue(author().collections)
    key, value = listing(1, edition=9)
    copy.collections["listing"][key] = value
    copy.changed()
    asked: list[tuple[str, list[str]]] = []

    def peer(question: WalkTrie) -> Nodes:
        asked.append((question.collection, question.prefixes))
        return author().serve(question)

    finish(copy.walk_to(author().head(AUTHOR)), copy, peer)
    assert asked == [("", []), ("listing", [""]), ("listing", [key_hex(key)[0]])]
    assert_same(copy, author())


def test_questions_stay_within_256_prefixes_and_some_thousand_records() -> None:
    # A level of the trie with 4,096 small subtrees, which are asked for in 16 questions.
    copy = Catalogue()
    many = Catalogue({"listing": {b"%d" % one: b"" for one in range(6000)}})
    biggest, most_records = 0, 0

    def peer(question: WalkTrie) -> Nodes:
        nonlocal biggest, most_records
        biggest = max(biggest, len(question.prefixes))
        records = [many.summary(question.collection, prefix).count for prefix in question.prefixes]
        most_records = max(most_records, sum(records))
        return many.serve(question, nodes_above=16)

    finish(copy.walk_to(many.head(AUTHOR)), copy, peer)
    assert biggest == 256
    assert most_records <= 6000
    assert_same(copy, many)


def test_a_question_is_asked_once_until_it_is_put_back() -> None:
    walk = Catalogue().walk_to(author().head(AUTHOR))
    (state,) = walk.questions()
    assert walk.questions() == []
    walk.again(state)
    assert walk.questions() == [state]
    walk.receive(state, author().serve(state))
    first = walk.questions()
    assert {question.collection for question in first} == {"listing", "stock"}
    assert walk.questions() == []
    for question in first:
        walk.again(question)
        walk.again(question)
    assert walk.questions() == first


def test_an_answer_that_comes_after_its_question_was_put_back_is_not_asked_for_again() -> None:
    copy = Catalogue()
    walk = copy.walk_to(author().head(AUTHOR))
    (state,) = walk.questions()
    walk.receive(state, author().serve(state))
    listing_, stock = walk.questions()
    walk.again(stock)
    copy.apply(walk.receive(stock, author().serve(stock)))
    assert walk.questions() == []
    copy.apply(walk.receive(listing_, author().serve(listing_)))
    finish(walk, copy, author().serve)
    assert_same(copy, author())


def test_a_broken_off_walk_resumes_where_it_stopped() -> None:
    copy = Catalogue()
    served = 0

    def peer(question: WalkTrie) -> Nodes:
        nonlocal served
        served += len(question.prefixes)
        return author().serve(question, nodes_above=100)

    finish(Catalogue().walk_to(author().head(AUTHOR)), Catalogue(), peer)
    all_of_it, served = served, 0
    walk = copy.walk_to(author().head(AUTHOR))
    while sum(map(len, copy.collections.values())) < 2500:
        for question in walk.questions():
            answer = author().serve(question, most=50, nodes_above=100)
            copy.apply(walk.receive(question, answer))
    assert not walk.done
    assert copy.collections
    assert copy.collections != author().collections
    finish(copy.walk_to(author().head(AUTHOR)), copy, peer)
    assert_same(copy, author())
    assert served < all_of_it // 2


def test_operations_are_asked_for_in_the_heads_own_epoch() -> None:
    head = author().head(AUTHOR, version=Version(3, 900))
    assert pull.get_ops(head, 800) == GetOps(0, AUTHOR.member_id, 0, 3, 800)


# ── lying peers ───────────────────────────────────────────────────────────────────────────────────────

Lie = Callable[[WalkTrie, Nodes], Nodes]


def with_items(change: Callable[[list[list[Any]]], object]) -> Lie:
    """Change the items of an answer that has some."""

    def lie(_: WalkTrie, answer: Nodes) -> Nodes:
        items = [
            [prefix, form, [list(row) for row in body] if form == 0 else body] for prefix, form, body in answer.items
        ]
        change(items)
        return replace(answer, items=items)

    return lie


def last_chunk(
    items: list[list[Any]], records: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
) -> None:
    chunk = chunks.read_chunk(items[-1][2], items[-1][0])
    items[-1][2] = chunks.write_chunk(records(list(zip(chunk.keys, chunk.values, strict=True))))


CHUNK_LIES: list[tuple[str, Lie, Reason]] = [
    (
        "another value",
        with_items(lambda i: last_chunk(i, lambda r: [*r[:-1], (r[-1][0], b"x")])),
        Reason.CHUNK_MISMATCH,
    ),
    ("a record less", with_items(lambda i: last_chunk(i, lambda r: r[:-1])), Reason.CHUNK_MISMATCH),
    ("no records", with_items(lambda i: last_chunk(i, lambda r: [])), Reason.CHUNK_MISMATCH),
    ("records out of order", with_items(lambda i: last_chunk(i, lambda r: r[::-1])), Reason.CHUNK_MISMATCH),
    ("chunks exchanged", with_items(lambda i: i[-1].__setitem__(2, i[0][2])), Reason.CHUNK_MISMATCH),
    ("bytes that are no chunk", with_items(lambda i: i[-1].__setitem__(2, b"junk")), Reason.MALFORMED),
    ("no items", lambda _, answer: replace(answer, items=[]), Reason.CHUNK_MISMATCH),
    ("a subtree that was not asked for", with_items(lambda i: i[-1].__setitem__(0, "0123")), Reason.CHUNK_MISMATCH),
    ("the same subtree twice", with_items(lambda i: i.append(i[0])), Reason.CHUNK_MISMATCH),
    (
        "a leaf passed off as a node",
        with_items(lambda i: i[-1].__setitem__(slice(1, 3), [0, [[1, 1, secret("x")]] + [[0, 0, bytes(32)]] * 15])),
        Reason.CHUNK_MISMATCH,
    ),
]


def node_lie(change: Callable[[list[list[Any]]], object]) -> Lie:
    return with_items(lambda items: change(items[-1][2]))


def move_count(rows: list[list[Any]]) -> None:
    """Give all of the second child's records to the first: count, size and hash of the node stay right."""
    rows[0][0] += rows[1][0]
    rows[0][1] += rows[1][1]
    rows[1][0] = rows[1][1] = 0


NODE_LIES: list[tuple[str, Lie, Reason]] = [
    ("another hash", node_lie(lambda rows: rows[5].__setitem__(2, secret("lie"))), Reason.CHUNK_MISMATCH),
    ("another count", node_lie(lambda rows: rows[5].__setitem__(0, 1)), Reason.CHUNK_MISMATCH),
    ("another size", node_lie(lambda rows: rows[5].__setitem__(1, 1)), Reason.CHUNK_MISMATCH),
    (
        "a size that no integer holds",
        node_lie(lambda rows: [row.__setitem__(1, 2**64 - 1) for row in rows]),
        Reason.CHUNK_MISMATCH,
    ),
    (
        "a count that no integer holds",
        node_lie(lambda rows: [row.__setitem__(0, 2**64 - 1) for row in rows]),
        Reason.CHUNK_MISMATCH,
    ),
    ("children exchanged", node_lie(lambda rows: rows.reverse()), Reason.CHUNK_MISMATCH),
    ("a child said to be empty", node_lie(move_count), Reason.CHUNK_MISMATCH),
    (
        "an empty child said to hold records",
        node_lie(lambda rows: rows[5].__setitem__(2, bytes(32))),
        Reason.CHUNK_MISMATCH,
    ),
    (
        "too few records for a node",
        node_lie(lambda rows: [row.__setitem__(0, 1) for row in rows]),
        Reason.CHUNK_MISMATCH,
    ),
]


@pytest.mark.parametrize(
    ("lie", "reason", "form"),
    [(row[1], row[2], 1) for row in CHUNK_LIES] + [(row[1], row[2], 0) for row in NODE_LIES],
    ids=[row[0] for row in (*CHUNK_LIES, *NODE_LIES)],
)
def test_a_lie_is_refused_whole_and_an_honest_peer_completes_the_walk(lie: Lie, reason: Reason, form: int) -> None:
    # The follower holds a part already, so that a lie could also take something from it.
    copy = changed(author(), random.Random(7), 300)
    walk = copy.walk_to(author().head(AUTHOR))
    lies = 0
    while not walk.done:
        for question in walk.questions():
            honest = author().serve(question)
            if honest.items and honest.items[-1][1] == form and len(honest.items) > (1 if form else 0):
                before = (walk.missing_count, walk.done)
                with refused(reason):
                    walk.receive(question, lie(question, honest))
                assert (walk.missing_count, walk.done) == before
                lies += 1
                walk.again(question)
                (question_again,) = walk.questions()
                assert question_again == question
            copy.apply(walk.receive(question, honest))
    assert lies
    assert_same(copy, author())


def test_counts_that_a_liar_has_moved_between_children_do_not_make_honest_peers_look_guilty() -> None:
    """Counts beside the hashes of children are not bound by the node's hash: nothing may hang on them."""
    copy = Catalogue()
    walk = copy.walk_to(author().head(AUTHOR))
    (state,) = walk.questions()
    walk.receive(state, author().serve(state))
    root = next(question for question in walk.questions() if question.collection == "listing")

    def shift(rows: list[list[Any]]) -> None:
        rows[0][0], rows[1][0] = rows[0][0] - 5, rows[1][0] + 5
        rows[2][0], rows[3][0] = 1, rows[2][0] + rows[3][0] - 1

    assert walk.receive(root, node_lie(shift)(root, author().serve(root))) == []
    while questions := walk.questions():
        for question in questions:
            # This honest peer answers with nodes wherever it can, also where the liar left "one record".
            copy.apply(walk.receive(question, author().serve(question, nodes_above=16)))
    assert copy.collections["listing"] == author().collections["listing"]
    for change in walk._expected:
        assert change[0] == "stock"


def test_a_node_below_the_deepest_prefix_is_refused() -> None:
    deep = "f" * 64
    walk = Catalogue().walk_to(author().head(AUTHOR))
    walk.collections = {}
    walk._expected["listing", deep] = trie.Summary(17, 1, secret("deep"))
    question = WalkTrie(0, AUTHOR.member_id, 0, walk.head.state_root, "listing", [deep])
    with refused(Reason.CHUNK_MISMATCH):
        walk.receive(question, Nodes(0, None, b"", [[deep, 0, [[17, 1, secret("x")]] * 16]]))


STATE = [["listing", 3000, 9, secret("root")]]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b"", Reason.TRUNCATED),
        (encode([]), Reason.ROOT_MISMATCH),
        (encode(STATE), Reason.ROOT_MISMATCH),
        (encode([["Listing", 1, 1, bytes(32)]]), Reason.RECORD_KEY),
        (encode([["listing", 0, 0, bytes(32)]]), Reason.OUT_OF_RANGE),
        (encode([["listing", 1, 1, bytes(31)]]), Reason.WRONG_SHAPE),
        (encode({}), Reason.WRONG_SHAPE),
        (encode([["c" * 32, 1, 1, bytes(32)]] * 33), Reason.OUT_OF_RANGE),
    ],
)
def test_a_list_of_collections_that_the_author_did_not_sign_is_refused(state: bytes, reason: Reason) -> None:
    walk = Catalogue().walk_to(author().head(AUTHOR))
    (question,) = walk.questions()
    with refused(reason):
        walk.receive(question, Nodes(0, None, state, []))
    assert walk.collections is None
    walk.again(question)
    assert walk.questions() == [question]
    walk.receive(question, author().serve(question))
    assert set(walk.collections or {}) == {"listing", "stock"}


def test_a_list_of_collections_has_one_order() -> None:
    walk = Catalogue().walk_to(author().head(AUTHOR))
    (question,) = walk.questions()
    rows = [[name, one.count, one.size, one.hash] for name, one in sorted(author().summaries().items())]
    for bad in (rows[::-1], [rows[0], *rows]):
        with refused(Reason.ROOT_MISMATCH):
            walk.receive(question, Nodes(0, None, encode(bad), []))
    assert encode(rows) == author().serve(question).state


@pytest.mark.parametrize("changes", [{"record_count": 3019}, {"record_bytes": 7}])
def test_numbers_of_a_head_that_its_own_state_contradicts_are_the_authors_fault(changes: dict[str, Any]) -> None:
    copy = Catalogue()
    walk = copy.walk_to(author().head(AUTHOR, **changes))
    assert walk.author_fault is None
    finish(walk, copy, author().serve)
    assert "3020" in (walk.author_fault or "")
    assert_same(copy, author())


def test_an_author_whose_numbers_are_right_and_a_peer_that_lies_are_no_fault_of_the_author() -> None:
    walk = Catalogue().walk_to(author().head(AUTHOR))
    (state,) = walk.questions()
    with refused(Reason.ROOT_MISMATCH):
        walk.receive(state, Nodes(0, None, encode(STATE), []))
    assert walk.author_fault is None
    walk.receive(state, author().serve(state))
    assert walk.author_fault is None


def test_peers_that_lie_at_random_never_put_anything_into_the_copy() -> None:
    chance = random.Random(1)
    copy = changed(author(), chance, 200)
    walk: Walk = copy.walk_to(author().head(AUTHOR))
    lies = [row[1] for row in (*CHUNK_LIES, *NODE_LIES)]
    refusals = 0
    for _ in range(2000):
        if walk.done:
            break
        for question in walk.questions():
            answer = author().serve(question, most=chance.choice([1, 2, 9]), nodes_above=chance.choice([16, 100]))
            if question.collection and chance.random() < 0.5:
                try:
                    answer = chance.choice(lies)(question, answer)
                except (Refused, TypeError, IndexError, ValueError, AttributeError):
                    pass  # this lie does not fit this answer: it stays honest
            try:
                copy.apply(walk.receive(question, answer))
            except Refused:
                refusals += 1
                walk.again(question)
    assert walk.done
    assert refusals > 10
    assert_same(copy, author())
