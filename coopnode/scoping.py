"""Whom and what the settings of a partial replica mean, beside the roster and what members say of themselves.

Never fetches or drops anything: `gossip/keeping` does. A name in the settings may fit nobody yet, and somebody else
later, so whoever has taken a page or a contact statement asks again.
"""

from __future__ import annotations

from coopnode.config import Config
from coopnode.membership import Membership
from coopnode.scope import Scope, find_members, read_region
from coopnode.store import Tables
from protocol import statements
from protocol.scope import Replica


class Scoping:
    """The settings of one node, as far as it is known by now who is meant."""

    def __init__(self, me: bytes, config: Config) -> None:
        self._config = config
        self.scope = Scope(me, Replica(config.replica), members=frozenset())
        """What is kept of others' catalogues; nobody's before the settings have been read beside the roster."""
        self.problems: list[str] = []
        """What the settings name and nobody here knows: sentences for the owner."""
        self._known = (-1, -1)

    def settle(self, tables: Tables, held: Membership | None) -> bool:
        """Read the settings beside roster and contacts: who is meant? Return whether that has changed."""
        own, before = self._config, self.scope
        members: frozenset[bytes] | None = None
        if own.replica_members:
            known = (tables.items.last_on_topic(statements.CONTACT.encode()), -1 if held is None else held.roster.slot)
            if known == self._known:
                return False
            self._known = known
            contacts = (statements.read(item.data) for item in tables.items.on_topic(statements.CONTACT.encode()))
            names = {one.member_id: one.fields["name"] for one in contacts}
            ids = () if held is None else held.roster.members
            members, self.problems = find_members(own.replica_members, ids, names)
        elif own.replica_regions:
            members = frozenset()
        self.scope = Scope(
            before.me,
            Replica(own.replica),
            members,
            frozenset(own.replica_collections) or None,
            tuple(map(read_region, own.replica_regions)) or None,
            own.replica_max_records or None,
        )
        return self.scope != before
