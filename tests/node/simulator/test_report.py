"""What people see of a run: a table, a paragraph, a chart, and what was not as it must be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from coopnode.simulator import run
from coopnode.simulator.chart import draw
from coopnode.simulator.parameters import with_overrides
from coopnode.simulator.report import paragraphs, rows
from coopnode.simulator.town import Town
from coopnode.simulator.verdict import verdict
from coopnode.world import World
from tests.node.cli.typed import Member

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cost() -> tuple[dict[str, Any], Town]:
    given: dict[str, object] = {"nodes": 20, "items": 5, "warm": 10, "minutes": 1.0}
    return run.simulate(with_overrides(run.usual("cost"), given), World().steady_ms)


@pytest.fixture(scope="module")
def liars() -> dict[str, Any]:
    given: dict[str, object] = {"nodes": 20, "items": 5, "warm": 10}
    return run.simulate(with_overrides(run.usual("liars"), given), World().steady_ms)[0]


def test_the_report_says_what_it_costs(cost: tuple[dict[str, Any], Town]) -> None:
    result, _ = cost
    shown = dict(rows(result))
    assert shown["nodes"] == "20"
    assert shown["missed"] == "0"
    first, last = paragraphs(result)
    assert first.startswith("What it costs: with 1,000 members and 24 new heads a day")
    assert last == "Everything that must hold does."


def test_the_chart_is_xml_with_a_line_for_each_kind_of_traffic(cost: tuple[dict[str, Any], Town]) -> None:
    drawn = ElementTree.fromstring(draw(*cost))
    assert drawn.tag == SVG + "svg"
    title = drawn.find(SVG + "title")
    assert title is not None
    assert title.text == "cost: 20 nodes, seed 7"
    lines = drawn.findall(SVG + "polyline")
    names = {text.text for text in drawn.findall(SVG + "text")}
    assert {"all words", "the slowest", "put", "control", "anti-entropy", "ping", "session"} <= names
    assert len(lines) == 7
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert points == sorted(points, key=lambda point: point[0])
        assert all(0 <= x <= 960 and 0 <= y <= 620 for x, y in points)


WRONG: list[tuple[str, object, str]] = [
    ("health.frontiers", 2, "2 different sets"),
    ("health.forged_accepted", 3, "3 forged items"),
    ("health.older_accepted", 1, "older head"),
    ("health.own_untold", 1, "not told to all links"),
    ("health.twins", 1, "have a twin"),
    ("health.faults", {"unasked": 2}, "2 for unasked"),
    ("health.longest_queue", 20_001, "A queue grew"),
    ("health.most_parked", 2_001, "parked 2001"),
    ("links.most", 60, "has 60 links"),
    ("links.fewest", 0, "only 0 links"),
    ("broadcast.missed", 4, "missed a word"),
    ("broadcast.last_hop", 200, "200 hops"),
    ("scenario_figures.evidence_missing", 1, "proof that a member has said two things"),
    ("scenario_figures.all_delivered_while_they_lied", False, "while the liars lied"),
    ("scenario_figures.calls_to_hidden", 1, "cannot be called"),
    ("scenario_figures.recovered_ms", 15_001, "current after 15001 ms"),
    ("scenario_figures.equal_after_s", None, "equal after None s"),
]


@pytest.mark.parametrize(("place", "value", "said"), WRONG)
def test_the_verdict_names_what_is_wrong(liars: dict[str, Any], place: str, value: object, said: str) -> None:
    assert verdict(liars) == []
    broken = copy.deepcopy(liars)
    broken["bounds"] |= {"recovered_ms": 15_000, "equal_after_s": 180, "last_hop": 40}
    part, name = place.split(".")
    broken[part][name] = value
    (sentence,) = verdict(broken)
    assert said in sentence


# ── as it is typed ───────────────────────────────────────────────────────────────────────────────

FEW = ("--nodes", "20", "--items", "4", "--warm", "4")


def test_the_command_prints_json_and_draws(tmp_path: Path) -> None:
    member = Member(tmp_path)
    chart = tmp_path / "chart.svg"
    result = member.gets("simulate", "--scenario", "many", *FEW, "--chart", str(chart))
    assert (result["scenario"], result["nodes"], result["verdict"]) == ("many", 20, [])
    assert result["machine"]["peak_memory_mb"] > 10
    assert ElementTree.parse(chart).getroot().tag == SVG + "svg"
    assert not member.home.exists(), "it needs no node"


def test_the_command_says_it_in_words_and_exits_with_one_if_something_is_wrong(tmp_path: Path) -> None:
    member = Member(tmp_path)
    good = member.types("simulate", "--scenario", "random", *FEW)
    assert good.exit_code == 0
    assert "Everything that must hold does." in good.output
    wrong = member.types("simulate", "--scenario", "crash", "--nodes", "60", "--items", "10", "--no-lazy")
    assert wrong.exit_code == 1
    assert "Not as it must be: " in wrong.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scenario", "weather"), "There is no scenario 'weather'. There are: single, many,"),
        (("--nodes", "1"), "must be from 2 to"),
        (("--loss", "2"), "must be from 0 to 0.5"),
        (("--nodes", "some"), "is not a valid integer"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = Member(tmp_path).types("simulate", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_the_scenarios_are_listed(tmp_path: Path) -> None:
    listed = Member(tmp_path).types("simulate", "--list").output
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(run.SCENARIOS)
