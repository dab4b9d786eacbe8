"""Every number that two nodes must agree on, in one place. Specification, section 1.3."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# 2 encoding
MAX_DEPTH = 8
MAX_INT = 2**64 - 1

# 4 and 5 statements
MAX_STATEMENT_BYTES = 16 * KIB
MAX_SIGNED_BYTES = MAX_STATEMENT_BYTES + 64  # with its signature
MAX_ROTATION_KEYS = 8
MAX_IDENTITY_STATEMENTS = 256
MAX_ENDPOINTS = 8
MAX_ENDPOINT_BYTES = 256
MAX_RELAYS = 3
MAX_REPLICA_BYTES = 16  # the word for how much a node keeps

# 6 records
MAX_KEY_BYTES = 96
MAX_VALUE_BYTES = 16 * KIB
MAX_SKU_BYTES = 64
MAX_LOCATION_BYTES = 31
MAX_COLLECTION_BYTES = 32
MAX_COLLECTIONS = 32
MAX_TITLE_BYTES = 500
MAX_NAME_BYTES = 120
MAX_TEXT_BYTES = 8_000
MAX_PRICE_MINOR = 10**15
MAX_QUANTITY_MILLI = 10**15

# 7 trie
LEAF_ENTRIES = 16
MAX_TRIE_DEPTH = 64
CHUNK_ENTRIES = 1024
MAX_CHUNK_BYTES = 1 * MIB  # unpacked; a single leaf (16 entries of 16 KiB) always fits
MAX_PROOF_BYTES = 8 * KIB
MAX_PROVED_BYTES = 1 * MIB  # records with proofs, in one answer
MAX_PROVED_ROWS = 256

# 8 heads and operations
MAX_HEAD_BYTES = 512
MAX_OPS = 1_000
MAX_OPS_BYTES = 1 * MIB
MAX_AHEAD_MS = 5 * 60 * 1000  # how far in the future a rev or a page may lie
STREAM_PUBLIC = 0
STREAM_MEMBERS = 1
MAX_STREAM = 15

# 9 sessions
MAX_MESSAGE_BYTES = 2 * MIB
MAX_REPLY_BYTES = 1 * MIB  # what a sender puts into one answer, before the last item
MAX_ITEMS = 1_000  # heads or statements in one message
MAX_WALK_PREFIXES = 256
RECORDS_A_QUESTION = 4 * CHUNK_ENTRIES  # answers of half a megabyte keep four questions under way busy
RECON_NAME_BYTES = 8  # a salted name of an id; chosen afresh for each exchange, so nobody can aim at a collision
RECON_FIRST_PARTS = 16
RECON_PARTS = 64
RECON_PART_ITEMS = 16
RECON_LIST = 32  # so few ids of a range are listed, not split
MAX_RECON_RANGES = 4_096
MAX_RECON_QUESTIONS = 256  # enough for a million ids of which every one differs
RECON_FROM_ITEMS = 64  # who holds no more has everything sent again
RECON_AFTER_ITEMS = 128  # a cursor is old when so many items have arrived here since it was kept
MAX_REQUESTS_UNDER_WAY = 4
MAX_GIVEN_UP = 256  # half an hour of questions that a slow peer may still answer
HANDSHAKE_MS = 10_000
REQUEST_MS = 30_000
MAX_RETRY_MS = 60_000  # a busy peer may not ask for more patience at a time
PING_EVERY_MS = 3_000  # on a link that carries news
QUIET_PING_EVERY_MS = 15_000
QUIET_MS = 60_000  # so long after its last news a link counts as quiet
SUSPECT_MS = 1_500  # a ping unanswered for so long: do not wait for this peer
SILENT_MS = 45_000
FULL_MESH_MEMBERS = 12
SAMPLED_LINKS = 4  # fewest; where each calls three, they are six and more on average
OWN_LINKS = 3  # so many at least are our own choice
MAX_LINKS = 40
ROTATE_AFTER_ITEMS = 64  # a peer that tells nothing of so many items that came here...
ROTATE_AFTER_MS = 10 * 60 * 1000  # ...in so long is given up for another
VISIT_EVERY_MS = 30_000  # about so often a member chosen by chance is asked whether anything was missed
MAX_QUEUED_ITEMS = 20_000
SHORT_ID_BYTES = 8
LAZY_MS = 200  # names are collected for so long
GRAFT_MS = 2_000  # so long at most the tree may take to bring what was named
FASTEST_GRAFT_MS = 300
GRAFT_AGAIN_MS = 500
HURRY_MS = 10_000  # so long after a branch was lost nothing is waited for
HURRIED_GRAFT_MS = 100
MOST_TRUST = 4
TRUST_LOST = 1
MAX_GRAFTS = 8  # so often an item that was named is asked for
MAX_MISSING_ITEMS = 20_000
MAX_SEEN_ITEMS = 50_000
MAX_RECENT_BYTES = 4 * MIB  # kept in memory to answer grafts

# 10 minute book
MAX_FOUNDERS = 100
MAX_ACTS = 64
MAX_INVITATION_USES = 100

# 11 polls
MAX_OPTIONS = 32
