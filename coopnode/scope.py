"""What this node keeps of others' catalogues, as its owner has chosen it in the settings.

Pure: knows neither store nor roster. The thing to understand: `members` and `regions` both say *whose* catalogues
are kept (whoever is named, and whoever says it lies there; without both, everybody's); `collections` says which
parts of these, and `max_records` leaves out what is too large. The own catalogue is always kept whole, and of
everybody else at least the profile, which says where it lies.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.limits import LEAF_ENTRIES
from protocol.records import PROFILE
from protocol.scope import Replica, Wants, everything
from protocol.trie import Summary

LEAST_PREFIX = 6
"""Hex digits of a member id that may stand for it."""
MAX_PROFILE_RECORDS = LEAF_ENTRIES
"""A profile is one record; a collection of that name with more is none, and is not fetched for its sake."""
EARTH_KM = 6371.0
_COUNTRY = re.compile("[A-Za-z]{2}")
_HEX = re.compile("[0-9a-f]{6,40}")


@dataclass(frozen=True, slots=True)
class Region:
    """A country, or all within *radius_km* of a point; degrees north and east."""

    country: str = ""
    north: float = 0.0
    east: float = 0.0
    radius_km: float = 0.0

    def holds(self, profile: Mapping[str, Any]) -> bool:
        """Whether a member that says this of itself lies here."""
        if self.country:
            return str(profile.get("country", "")).upper() == self.country
        place = profile.get("place")
        if place is None:
            return False
        north, east = place["lat_e7"] / 1e7, place["lon_e7"] / 1e7
        return distance_km(self.north, self.east, north, east) <= self.radius_km


def read_region(text: str) -> Region:
    """Read "DE", or "52.52,13.40,30": latitude, longitude and kilometres. Raises ValueError with a sentence."""
    if _COUNTRY.fullmatch(text.strip()):
        return Region(country=text.strip().upper())
    try:
        north, east, radius_km = (float(part) for part in text.split(","))
        if abs(north) <= 90 and abs(east) <= 180 and 0 < radius_km <= 20_040:
            return Region(north=north, east=east, radius_km=radius_km)
    except ValueError:
        pass
    raise ValueError(
        f"{text!r} is not a region: give two letters of a country, such as DE, "
        "or latitude, longitude and kilometres around, such as 52.52,13.40,30"
    )


def distance_km(north: float, east: float, other_north: float, other_east: float) -> float:
    """Return the distance on a sphere (haversine): within half a per cent of the truth."""
    a, b = math.radians(north), math.radians(other_north)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(other_east - east) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True, slots=True)
class Scope:
    """The choice, with members by id. None: no limit of this kind."""

    me: bytes
    replica: Replica = Replica.FULL
    members: frozenset[bytes] | None = None
    collections: frozenset[str] | None = None
    regions: tuple[Region, ...] | None = None
    max_records: int | None = None

    def pulls(self, author: bytes) -> bool:
        """Whether anything of this member's catalogue is kept here."""
        return author == self.me or self.replica is not Replica.LIGHT

    def wants(self, author: bytes, record_count: int, profile: Mapping[str, Any]) -> Wants:
        """Say which collections of a member's catalogue are kept, from what its head and its profile say."""
        if author == self.me or self.replica is Replica.FULL:
            return everything
        if self.replica is Replica.LIGHT:
            return _nothing
        most, kept = self.max_records, self.collections
        if not self._chooses(author, profile) or (most is not None and record_count > most):
            return _profile_only
        if kept is None and most is None:
            return everything

        def wants(name: str, signed: Summary) -> bool:
            # By the collection's own count too: a head may say less than the state that it signs.
            fits = most is None or signed.count <= most
            return (fits and (kept is None or name in kept)) or _profile_only(name, signed)

        return wants

    def _chooses(self, author: bytes, profile: Mapping[str, Any]) -> bool:
        if self.members is None and self.regions is None:
            return True
        return author in (self.members or ()) or any(region.holds(profile) for region in self.regions or ())


def _nothing(_name: str, _signed: Summary) -> bool:
    return False


def _profile_only(name: str, signed: Summary) -> bool:
    return name == PROFILE and signed.count <= MAX_PROFILE_RECORDS


def find_members(
    written: Sequence[str], ids: Iterable[bytes], names: Mapping[bytes, str]
) -> tuple[frozenset[bytes], list[str]]:
    """Return the members that an owner means, by name or the beginning of an id; and what fits none or several."""
    known = sorted(ids)
    found: set[bytes] = set()
    problems = []
    for text in written:
        wanted = text.strip().casefold()
        fits = [one for one in known if names.get(one, "").casefold() == wanted]
        if not fits and _HEX.fullmatch(wanted):
            fits = [one for one in known if one.hex().startswith(wanted)]
        if len(fits) == 1:
            found.add(fits[0])
        elif fits:
            which = ", ".join(one.hex()[:12] for one in fits)
            problems.append(f"'{text}' fits {len(fits)} members: write the beginning of an id instead ({which})")
        else:
            problems.append(f"no member is called '{text}', and no member id begins so, as far as is known here")
    return frozenset(found), problems
