"""Bringing one stream to one signed head: by its operations if they bridge the gap, else by walking the trie.

Sans-I/O: it says what to ask and what to keep, the node asks and keeps. Every chunk it hands out has been
traced to the signed root, so it may be stored at once, and a broken-off walk resumes where it stopped.
The thing to understand: a walk only descends where the peer's subtree differs from ours, so cold
replication, repair and "catch up after a week" are one mechanism. Whoever keeps a part walks that part alone,
and keeps the signed summaries of the rest. Specification, sections 9.4 and 9.9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protocol import chunks, shape, trie
from protocol.chunks import Chunk
from protocol.encoding import decode
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.limits import (
    CHUNK_ENTRIES,
    LEAF_ENTRIES,
    MAX_COLLECTION_BYTES,
    MAX_COLLECTIONS,
    MAX_INT,
    MAX_TRIE_DEPTH,
    MAX_WALK_PREFIXES,
    MIB,
    RECORDS_A_QUESTION,
)
from protocol.messages import GetOps, Nodes, WalkTrie
from protocol.records import check_collection
from protocol.scope import Wants, elsewhere, everything
from protocol.trie import EMPTY, EMPTY_HASH, Summary

_STATE = shape.array(
    shape.rows(
        ("collection", shape.text(1, MAX_COLLECTION_BYTES)),
        ("count", shape.integer(1, 2**63)),
        ("size", shape.integer(0, 2**63)),
        ("root", shape.binary(32)),
    ),
    0,
    MAX_COLLECTIONS,
)
MAX_UNPACKED_BYTES = 16 * MIB
"""What is unpacked of one answer; small chunks of much that is alike could else fill the memory."""
SummaryOf = Callable[[str, str], Summary]
"""What we hold ourselves: (collection, prefix) -> summary of that subtree."""


@dataclass(frozen=True, slots=True)
class Replace:
    """The subtree at *prefix* becomes *chunk* (None: empty). *packed* is the chunk as received."""

    collection: str
    prefix: str
    summary: Summary
    chunk: Chunk | None
    packed: bytes


def get_ops(head: Head, from_rev: int) -> GetOps:
    """Ask for the operations from *from_rev*, which we hold, to *head*, of the same epoch."""
    return GetOps(0, head.stream.member_id, head.stream.number, head.version.epoch, from_rev)


def author_fault(head: Head, records: int, size: int) -> str | None:
    """Say what is wrong with a head whose root holds, but for whose state it gives other numbers; else None."""
    if (records, size) == (head.record_count, head.record_bytes):
        return None
    return (
        f"the author's head says {head.record_count} records of {head.record_bytes} bytes, "
        f"the state that it signs has {records} of {size}"
    )


class Walk:
    """Descent from a signed state root to the chunks that differ from ours.

    Call `questions`, send each, hand every answer to `receive`; it is over when `done`. *held* are the collections
    whose records we hold, *wants* says of which ones we want to.
    """

    def __init__(
        self, head: Head, held: Mapping[str, Summary], summary_of: SummaryOf, wants: Wants = everything
    ) -> None:
        self.head = head
        self.collections: dict[str, Summary] | None = None
        self.elsewhere: dict[str, Summary] = {}
        """What the author signed about the collections that are not wanted; known with `collections`."""
        self.author_fault: str | None = None
        """Set once the list of collections is here, if the head's own numbers contradict it: the root that the
        author signed holds, so what comes is kept, but the stream is desync and no peer is to blame. Spec 9.4."""
        self._held = dict(held)
        self._summary_of = summary_of
        self._wants = wants
        self._wanted: deque[tuple[str, str]] = deque()
        self._expected: dict[tuple[str, str], Summary] = {}
        self._asked_state = False
        self._missing_count = 0

    @property
    def done(self) -> bool:
        """Whether every difference has been handed out."""
        return self.collections is not None and not self._expected

    @property
    def missing_count(self) -> int:
        """How many records are under the prefixes still to come: for a progress bar.

        A liar may move counts about between subtrees, so the sum is true at the end and near the truth before.
        """
        return self._missing_count

    def needs(self, question: WalkTrie) -> bool:
        """Whether an answer to *question* would still bring anything: nobody else has brought it meanwhile."""
        if not question.collection:
            return self.collections is None
        return any((question.collection, prefix) in self._expected for prefix in question.prefixes)

    def questions(self) -> list[WalkTrie]:
        """Return the questions that can be asked now; each is returned once."""
        if self.collections is None:
            if self._asked_state:
                return []
            self._asked_state = True
            return [self._question("", [])]
        batches: list[WalkTrie] = []
        while self._wanted:
            collection, prefixes, records = self._wanted[0][0], list[str](), 0
            while self._wanted and self._wanted[0][0] == collection and records < RECORDS_A_QUESTION:
                place = self._wanted.popleft()
                if place not in self._expected:
                    continue  # `again` put it back, and then the answer came after all
                # A node above the chunks answers with 16 summaries: as cheap as a few records.
                prefix, expected = place[1], self._expected[place].count
                records += expected if expected <= CHUNK_ENTRIES else LEAF_ENTRIES
                prefixes.append(prefix)
                if len(prefixes) == MAX_WALK_PREFIXES:
                    break
            if prefixes:
                batches.append(self._question(collection, prefixes))
        return batches

    def again(self, question: WalkTrie) -> None:
        """Put back what *question* asked for: its answer will not come."""
        if not question.collection:
            self._asked_state = False
        for prefix in question.prefixes:
            place = (question.collection, prefix)
            if place in self._expected and place not in self._wanted:
                self._wanted.append(place)

    def receive(self, question: WalkTrie, answer: Nodes) -> list[Replace]:
        """Check an answer against the signed root; return what changes in our copy.

        Refuses: chunk_mismatch, root_mismatch and whatever the bytes break. The peer is at fault then, and
        nothing of the answer counts; `again` puts the question back for another peer.
        """
        if not question.collection:
            return self._receive_state(answer.state) if self.collections is None else []
        if not answer.items:
            raise Refused(Reason.CHUNK_MISMATCH, "the answer holds nothing of what was asked for")
        # Nothing of ours changes before the last item is checked: a lie at the end must not lose the beginning.
        unanswered = dict.fromkeys(question.prefixes)
        changes: list[Replace] = []
        below: list[tuple[str, Summary]] = []
        came: list[str] = []
        unpacked = 0
        for prefix, form, body in answer.items:
            if prefix not in unanswered:
                raise Refused(Reason.CHUNK_MISMATCH, "a subtree came that was not asked for")
            if unpacked > MAX_UNPACKED_BYTES:
                break  # what the rest holds cannot be known before it is unpacked; it is asked for again
            del unanswered[prefix]
            expected = self._expected.get((question.collection, prefix))
            if expected is None:
                continue  # another peer was asked as well, and was quicker
            came.append(prefix)
            if form == 1:
                changes.append(self._receive_chunk((question.collection, prefix), expected, body))
                unpacked += changes[-1].summary.size
            else:
                below.extend(self._receive_node(prefix, expected, [Summary(*row) for row in body]))
        for prefix in came:
            self._missing_count -= self._expected.pop((question.collection, prefix)).count
        for prefix, child in below:
            ours = self._summary_of(question.collection, prefix)
            changes.extend(self._compare(question.collection, prefix, child, ours))
        # The peer may cut an answer short; what is left is asked again.
        left = [(question.collection, prefix) for prefix in unanswered]
        self._wanted.extend(place for place in left if place in self._expected)
        return changes

    def _question(self, collection: str, prefixes: list[str]) -> WalkTrie:
        stream = self.head.stream
        return WalkTrie(0, stream.member_id, stream.number, self.head.state_root, collection, prefixes)

    def _receive_state(self, body: bytes) -> list[Replace]:
        rows = decode(body, 128 * MAX_COLLECTIONS)
        _STATE(rows, "state")
        state = {name: Summary(count, size, root) for name, count, size, root in rows}
        for name in state:
            check_collection(name)
        if [row[0] for row in rows] != sorted(state) or trie.state_root(state) != self.head.state_root:
            raise Refused(Reason.ROOT_MISMATCH, "the collections are not those that the author signed")
        self.collections = state
        records, size = sum(one.count for one in state.values()), sum(one.size for one in state.values())
        self.author_fault = author_fault(self.head, records, size)
        self.elsewhere = elsewhere(state, self._wants)
        changes = []
        for name in sorted({*state, *self._held} - self.elsewhere.keys()):
            changes.extend(self._compare(name, "", state.get(name, EMPTY), self._held.get(name, EMPTY)))
        return changes

    def _compare(self, collection: str, prefix: str, theirs: Summary, ours: Summary) -> list[Replace]:
        # By hash alone: it binds count and size, while the counts that stand beside a child's hash are hints.
        if theirs.hash == ours.hash:
            return []
        if theirs.count == 0:
            return [Replace(collection, prefix, EMPTY, None, b"")]
        self._expected[collection, prefix] = theirs
        self._missing_count += theirs.count
        self._wanted.append((collection, prefix))
        return []

    def _receive_chunk(self, place: tuple[str, str], expected: Summary, packed: bytes) -> Replace:
        collection, prefix = place
        chunk = chunks.read_chunk(packed, prefix)
        summary = trie.summarise(chunk.entries, len(prefix))
        if summary.hash != expected.hash:
            raise Refused(Reason.CHUNK_MISMATCH, "the records are not those that the author signed")
        return Replace(collection, prefix, summary, chunk, packed)

    def _receive_node(self, prefix: str, expected: Summary, children: list[Summary]) -> list[tuple[str, Summary]]:
        """Check the 16 children of a node; return each with its prefix.

        A node's hash binds its own count and size and its children's hashes, not how the counts are spread
        over the children. A liar could move them about: so a count decides nothing but "empty", and that
        must agree with the hash, or one lie would delete a subtree of ours.
        """
        number, total = sum(child.count for child in children), sum(child.size for child in children)
        if len(prefix) >= MAX_TRIE_DEPTH or number <= LEAF_ENTRIES:
            raise Refused(Reason.CHUNK_MISMATCH, "a leaf has no nodes below it")
        if max(number, total) > MAX_INT or any((child.count == 0) != (child.hash == EMPTY_HASH) for child in children):
            raise Refused(Reason.CHUNK_MISMATCH, "the counts of the subtrees contradict themselves")
        if trie.join(children).hash != expected.hash:
            raise Refused(Reason.CHUNK_MISMATCH, "the subtrees are not those that the author signed")
        return [(prefix + nibble, child) for nibble, child in zip(trie.HEX, children, strict=True)]
