"""Documentation that cannot fall behind: what is written is compared with what is there."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import pytest

from coopnode import config
from coopnode.cli import main
from coopnode.node import Node
from coopnode.server.app import make_app
from protocol.errors import Reason

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SPECIFICATION = (ROOT / "protocol" / "README.md").read_text("utf-8")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "protocol/*.md", "protocol/vectors/*.md", "examples/*.md")
    for path in ROOT.glob(pattern)
)
SHELLS = re.compile(r"^```(?:console|sh|shell|bash)\n(.*?)^```", re.S | re.M)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def section(text: str, title: str) -> str:
    """Return what stands under the heading *title*, to the next heading of its rank."""
    rank = title.split(" ")[0]
    found = re.search(rf"^{re.escape(title)}$(.*?)(?=^#{{1,{len(rank)}}} |\Z)", text, re.S | re.M)
    assert found, f"no section '{title}'"
    return found.group(1)


def first_cells(text: str) -> set[str]:
    """Return every `word` in the first cell of every table row."""
    return {
        word
        for line in text.splitlines()
        if line.startswith("|")
        for word in re.findall(r"`([^`]+)`", line.split("|")[1])
    }


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────


def packages() -> Iterator[Path]:
    for top in ("protocol", "coopnode"):
        yield ROOT / top
        yield from (path.parent for path in sorted((ROOT / top).glob("*/__init__.py")))


@pytest.mark.parametrize("package", list(packages()), ids=by_name)
def test_the_map_lists_every_module(package: Path) -> None:
    listed = first_cells(section(text_of("architecture.md"), f"### `{by_name(package)}/`"))
    top = package in (ROOT / "protocol", ROOT / "coopnode")
    files = package.glob("*.py") if top else package.rglob("*.py")
    there = {path.relative_to(package).with_suffix("").as_posix() for path in files if path.stem != "__init__"}
    # A package inside a room is listed by its name.
    there |= {path.parent.relative_to(package).as_posix() for path in package.glob("*/__init__.py") if not top}
    assert listed - {"README.md", "vectors/"} == there


def test_every_page_of_docs_can_be_found() -> None:
    index = text_of("index.md")
    assert not [path.name for path in DOCS.glob("*.md") if path.name != "index.md" and f"({path.name})" not in index]


# ── settings, reasons, commands, routes, dependencies ────────────────────────────────────────────


def test_every_setting_is_documented_with_its_default() -> None:
    rows = {
        cells[1].strip(" `"): cells[3].strip(" `")
        for cells in (line.split("|") for line in text_of("configuration.md").splitlines())
        if len(cells) == 6 and cells[1].strip().startswith("`") and not cells[1].strip().endswith("PORT`")
    }
    written = {one.name: config.written(one.default) for one in dataclasses.fields(config.Config)}
    assert {name: default for name, default in rows.items() if name in written} == written
    assert {name for name in rows if name.islower() and re.fullmatch(r"[a-z_]+", name)} - {"setting"} == set(written)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_specified(reason: Reason) -> None:
    assert f"`{reason.value}`" in SPECIFICATION


def commands(command: click.Command, path: tuple[str, ...] = ("coopnode",)) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, one in sorted(command.commands.items()):
            yield from commands(one, (*path, name))


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_shows_an_example(name: str) -> None:
    written = section(text_of("commands.md"), f"## `{name}`")
    for one in COMMANDS[name].params:
        if isinstance(one, click.Option) and one.name != "help":
            assert any(f"`{flag}" in written for flag in one.opts), f"{name} {one.opts[0]}"
    with click.Context(COMMANDS[name], info_name=name) as context:
        shown = COMMANDS[name].get_help(context)
    assert re.search(r"Example:\n\s+coopnode ", shown)


def test_no_command_is_documented_that_is_not_there() -> None:
    headings = set(re.findall(r"^## `(coopnode[^`]*)`$", text_of("commands.md"), re.M))
    assert headings == set(COMMANDS)


def served() -> set[tuple[str, str]]:
    """Return (method, path) of every route that a node serves."""
    # Building the application asks nothing of the node; only its answers do.
    router = make_app(cast(Node, None)).router
    routes = {(route.method, route.resource.canonical) for route in router.routes() if route.resource is not None}
    return {(method, path) for method, path in routes if method in ("GET", "POST", "PUT", "DELETE")}


def documented() -> set[tuple[str, str]]:
    found = re.findall(r"^### `(GET|POST|PUT|DELETE) ([^?`]+)[^`]*`", text_of("api.md"), re.M)
    return {(method, path) for method, path in found}


def test_the_routes_are_the_documented_ones() -> None:
    assert served() == documented()


def requirements() -> Iterator[str]:
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg", "utf-8")
    for text in (parsed["options"]["install_requires"], parsed["options.extras_require"]["test"]):
        for line in text.split("\n"):
            if line.strip() and not line.startswith("#"):
                yield re.split(r"[<>=!~\[; ]", line.strip())[0]


@pytest.mark.parametrize("name", sorted(requirements()))
def test_every_dependency_has_its_reason_and_licence(name: str) -> None:
    rows = [line for line in text_of("decisions.md").splitlines() if line.startswith(f"| {name} |")]
    assert len(rows) == 1
    assert all(cell.strip() for cell in rows[0].strip("|").split("|"))


def test_decisions_are_dated_and_whole() -> None:
    decisions = text_of("decisions.md").split("\n## Dependencies")[0]
    entries = re.split(r"^### ", decisions, flags=re.M)[1:]
    assert entries
    for entry in entries:
        title, _, body = entry.partition("\n")
        assert re.search(r"\(\d{4}-\d\d-\d\d\)$", title), title
        for part in ("Context:", "Choice:", "Given up:"):
            assert part in body, f"{title}: no '{part}'"


# ── what is typed, and where links lead ──────────────────────────────────────────────────────────


def typed() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for block in SHELLS.findall(path.read_text("utf-8")):
            for line in block.splitlines():
                if line.startswith("$ "):
                    yield by_name(path), line[2:]


@pytest.mark.parametrize(("page", "line"), list(typed()))
def test_what_the_pages_type_exists(page: str, line: str) -> None:
    inner = re.findall(r"\$\((coopnode [^)]*)\)", line)
    for one in (re.sub(r"\$\([^)]*\)", "X", line), *inner):
        words = shlex.split(one)
        if words[0] == "make":
            targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            assert words[1] in targets
        if words[0] == "coopnode":
            parse(main, words[1:])


def parse(command: click.Command, words: list[str]) -> None:
    """Parse *words* as the command line would, without running anything."""
    if "--version" in words:
        return
    with command.make_context("coopnode", list(words), resilient_parsing=False) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            _, found, left = command.resolve_command(context, rest)
            assert found is not None
            parse(found, left)


def test_the_pages_type_something() -> None:
    assert len({page for page, _ in typed()}) >= 2


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), f"{target} leads out of the project"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_pages_end_with_one_newline_and_have_one_title(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    outside = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    assert len(re.findall(r"^# ", outside, re.M)) == 1
