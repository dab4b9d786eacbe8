"""Whose catalogues a node keeps, as its owner may have written it down."""

from __future__ import annotations

from typing import Any

import pytest

from coopnode.scope import Region, Scope, distance_km, find_members, read_region
from protocol.records import LISTING, PROFILE, STOCK
from protocol.scope import Replica, everything
from protocol.trie import Summary

ME, ANNA, BERT = bytes(20), b"a" * 20, b"b" * 20
BERLIN: dict[str, Any] = {"country": "DE", "place": {"lat_e7": 525_200_000, "lon_e7": 134_050_000}}
STATE = {LISTING: Summary(100, 1, b""), STOCK: Summary(90, 1, b""), PROFILE: Summary(1, 1, b"")}


def kept(scope: Scope, author: bytes = ANNA, count: int = 191, **profile: Any) -> set[str]:
    wants = scope.wants(author, count, profile)
    return {name for name, signed in STATE.items() if wants(name, signed)}


def scoped(**chosen: Any) -> Scope:
    return Scope(ME, Replica.SCOPED, **chosen)


def test_full_and_light_need_no_choice() -> None:
    full, light = Scope(ME), Scope(ME, Replica.LIGHT)
    assert full.wants(ANNA, 10**9, {}) is everything
    assert full.pulls(ANNA)
    assert not light.pulls(ANNA)
    assert kept(light) == set()


@pytest.mark.parametrize("replica", list(Replica))
def test_the_own_catalogue_is_always_whole(replica: Replica) -> None:
    scope = Scope(ME, replica, members=frozenset(), collections=frozenset({STOCK}), max_records=0)
    assert scope.pulls(ME)
    assert scope.wants(ME, 10**9, {}) is everything


@pytest.mark.parametrize(
    ("chosen", "here"),
    [
        ({}, {LISTING, STOCK, PROFILE}),
        ({"members": frozenset({ANNA})}, {LISTING, STOCK, PROFILE}),
        ({"members": frozenset({BERT})}, {PROFILE}),
        ({"members": frozenset()}, {PROFILE}),
        ({"collections": frozenset({STOCK})}, {STOCK, PROFILE}),
        ({"members": frozenset({BERT}), "collections": frozenset({STOCK})}, {PROFILE}),
        ({"regions": (Region("DE"),)}, {LISTING, STOCK, PROFILE}),
        ({"regions": (Region("FR"),)}, {PROFILE}),
        ({"regions": (Region("FR"), Region("DE"))}, {LISTING, STOCK, PROFILE}),
        ({"members": frozenset({ANNA}), "regions": (Region("FR"),)}, {LISTING, STOCK, PROFILE}),
        ({"max_records": 191}, {LISTING, STOCK, PROFILE}),
        ({"max_records": 190}, {PROFILE}),
    ],
)
def test_the_choice(chosen: dict[str, Any], here: set[str]) -> None:
    assert kept(scoped(**chosen), **BERLIN) == here


def test_a_head_that_understates_its_state_does_not_get_a_large_collection_here() -> None:
    assert kept(scoped(max_records=95), count=5) == {STOCK, PROFILE}


def test_a_profile_is_one_record() -> None:
    wants = scoped(members=frozenset()).wants(ANNA, 5, {})
    assert wants(PROFILE, Summary(16, 1, b""))
    assert not wants(PROFILE, Summary(17, 1, b""))


def test_regions_are_countries_or_circles() -> None:
    assert read_region(" de ") == Region("DE")
    assert read_region("52.52, 13.40, 30") == Region(north=52.52, east=13.40, radius_km=30)
    assert read_region("52.52,13.40,1").holds(BERLIN)
    assert not read_region("48.14,11.58,500").holds(BERLIN)
    assert read_region("48.14,11.58,510").holds(BERLIN)
    assert not read_region("52.52,13.40,30").holds({"country": "DE"})
    assert not read_region("DE").holds({})
    # The date line and the poles are no edges.
    assert distance_km(0, 179.9, 0, -179.9) == pytest.approx(22.2, abs=0.1)
    assert distance_km(90, 0, 90, 180) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(
    "text", ["", "Germany", "52.5,13.4", "91,0,5", "0,181,5", "0,0,0", "0,0,-1", "a,b,c", "0,0,nan"]
)
def test_what_is_no_region_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a region: give two letters of a country"):
        read_region(text)


def test_members_are_found_by_name_and_by_the_beginning_of_the_id() -> None:
    names = {ANNA: "Harbour Tools", BERT: "Mill Street Bakery"}
    ids = [ANNA, BERT]
    assert find_members(["harbour tools ", "626262"], ids, names) == (frozenset(ids), [])
    assert find_members([ANNA.hex()], ids, names) == (frozenset({ANNA}), [])
    assert find_members(["harbour", "61616", "ff" * 20], ids, names)[0] == frozenset()


def test_a_name_that_fits_nobody_or_two_is_told() -> None:
    names = {ANNA: "Tools", BERT: "Tools"}
    _, problems = find_members(["Tools", "Bakery"], [ANNA, BERT], names)
    assert problems == [
        "'Tools' fits 2 members: write the beginning of an id instead (616161616161, 626262626262)",
        "no member is called 'Bakery', and no member id begins so, as far as is known here",
    ]
