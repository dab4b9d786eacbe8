"""The house rules that no linter knows: who may import whom, who may touch what, how long a module may be.

A failing test here is a question about the design, not about the line that it names: either the code belongs
elsewhere, or the table below and docs/architecture.md change together, for a reason that docs/decisions.md tells.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Imports point down only: a room may import from the lines below its own. Rooms of one line know nothing of
# each other. `protocol` lies under all of them and is not named here.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli", "demo"),
    ("simulator",),
    ("server",),
    ("node",),
    ("desk",),
    ("notes",),
    ("catalog",),
    ("gossip",),
    ("core",),
    ("clerk",),
    ("publisher",),
    ("ingest", "scoping"),
    ("config", "keystore", "highwater", "membership"),
    ("folder", "connectors", "store", "scope"),
    ("errors", "world", "__init__"),
)
INSIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    "gossip": (
        ("forwarding",),
        ("dialer", "discovery", "company", "syncing"),
        ("gossiper", "joining"),
        ("answers", "catchup", "forgers", "spreading", "throttle"),
        ("puller",),
        ("walker", "parts"),
        ("bridge",),
        ("link", "addresses", "gate", "progress", "keeping"),
        ("__init__",),
    ),
}
"""The same within a folder that has several lines of its own."""
SAME_LINE = {("cli", "demo"), ("demo", "cli")}
"""The demo is a command, and uses the command line's own ways."""

PROTOCOL_MAY_IMPORT = {
    "protocol",
    *("cryptography", "msgpack"),
    *(
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
    ),
    *("itertools", "typing", "zlib"),
}
PROTOCOL_MAY_NOT_CALL = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint", "id", "hash"})

# What is not ours, and what asks the machine for time, chance, files or processes: the rooms that may have it.
# An installed library that is missing here is one that docs/decisions.md does not know either.
MAY_USE: dict[str, frozenset[str]] = {
    "aiohttp": frozenset({"server", "gossip", "node"}),
    "click": frozenset({"cli"}),
    "cryptography": frozenset({"protocol", "keystore"}),
    "jinja2": frozenset({"server"}),
    "markupsafe": frozenset({"server"}),  # comes with jinja2
    "msgpack": frozenset({"protocol", "server", "cli"}),
    "rich": frozenset({"cli"}),
    "sqlite_utils": frozenset({"store"}),
    "tantivy": frozenset({"catalog"}),
    "ifaddr": frozenset({"gossip"}),
    "zeroconf": frozenset({"gossip"}),
    # of the standard library
    "fcntl": frozenset({"folder"}),
    "http": frozenset({"cli", "demo", "server"}),
    "random": frozenset({"simulator"}),  # from a seed, and only there
    "secrets": frozenset({"world"}),
    "socket": frozenset({"gossip", "cli"}),
    "sqlite3": frozenset({"store"}),
    "subprocess": frozenset({"demo"}),
    "time": frozenset({"world", "cli", "demo"}),
    "urllib": frozenset({"gossip", "server", "demo"}),
}

LONGEST = 450
LONGER_FOR_A_REASON: dict[str, int] = {
    "coopnode/store/tries.py": 480,  # reading, laying changes on and rewriting chunks share one picture of the rows
}
"""Module -> its bound. Say why in a comment."""

SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX))\b", re.S
)


@dataclass(frozen=True)
class Module:
    """One source file of the product."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return "protocol" if parts[0] == "protocol" else parts[1]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text("utf-8"))

    @cached_property
    def imported(self) -> list[tuple[int, str]]:
        """Every imported module with its line, also those imported inside functions."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, one.name) for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: a relative import; say whole names"
                module = node.module or ""
                inside = module in ("coopnode", "protocol")
                found += [(node.lineno, f"{module}.{one.name}" if inside else module) for one in node.names]
        return found

    @property
    def calls(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node.lineno, ast.unparse(node.func)

    @property
    def texts(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value


PRODUCT = [Module(path) for folder in ("protocol", "coopnode") for path in sorted((ROOT / folder).rglob("*.py"))]
PROTOCOL = [one for one in PRODUCT if one.room == "protocol"]
NODE = [one for one in PRODUCT if one.room != "protocol"]


def by_name(module: Module) -> str:
    return module.name


def layer(room: str, layers: tuple[tuple[str, ...], ...] = LAYERS) -> int:
    for number, rooms in enumerate(reversed(layers)):
        if room in rooms:
            return number
    pytest.fail(f"coopnode/{room} is a new room: give it a line in LAYERS and in docs/architecture.md")


@pytest.mark.parametrize("module", PROTOCOL, ids=by_name)
def test_protocol_imports_what_is_pure(module: Module) -> None:
    wrong = [f"line {line}: {name}" for line, name in module.imported if name.split(".")[0] not in PROTOCOL_MAY_IMPORT]
    assert not wrong


@pytest.mark.parametrize("module", PROTOCOL, ids=by_name)
def test_protocol_touches_nothing_outside(module: Module) -> None:
    assert not [f"line {line}: {name}" for line, name in module.calls if name in PROTOCOL_MAY_NOT_CALL]


@pytest.mark.parametrize("module", NODE, ids=by_name)
def test_imports_point_down(module: Module) -> None:
    for line, name in module.imported:
        parts = name.split(".")
        if parts[0] != "coopnode":
            continue
        # `import coopnode` and `from coopnode import __version__` are the package's own first lines.
        other = parts[1] if len(parts) > 1 and not parts[1].startswith("__") else "__init__"
        if other == module.room or (module.room, other) in SAME_LINE:
            continue
        assert layer(module.room) > layer(other), f"{module.name}:{line} imports {name}, which is not below it"


@pytest.mark.parametrize("module", [one for one in NODE if one.room in INSIDE], ids=by_name)
def test_imports_point_down_inside_a_room(module: Module) -> None:
    layers = INSIDE[module.room]
    for line, name in module.imported:
        parts = name.split(".")
        if parts[:2] != ["coopnode", module.room] or len(parts) < 3:
            continue
        above, below = layer(module.path.stem, layers), layer(parts[2], layers)
        assert above > below, f"{module.name}:{line} imports {name}, which is not below it"


@pytest.mark.parametrize("module", PRODUCT, ids=by_name)
def test_libraries_stay_in_their_rooms(module: Module) -> None:
    for line, name in module.imported:
        top = name.split(".")[0]
        if top in ("coopnode", "protocol"):
            continue
        where = f"{module.name}:{line}"
        if top in MAY_USE:
            assert module.room in MAY_USE[top], f"{where}: {top} is for {sorted(MAY_USE[top]) or 'nobody'}"
        else:
            assert top in sys.stdlib_module_names, f"{where}: {top} is in no table: MAY_USE, docs/decisions.md"


@pytest.mark.parametrize("module", [one for one in NODE if one.room != "store"], ids=by_name)
def test_sql_lives_in_the_store(module: Module) -> None:
    assert not [f"line {line}: {text[:60]}" for line, text in module.texts if SQL.search(text)]


@pytest.mark.parametrize("module", PRODUCT, ids=by_name)
def test_nobody_prints_past_the_command_line(module: Module) -> None:
    if module.room in ("cli", "demo"):
        return
    assert not [line for line, name in module.calls if name in ("print", "click.echo", "sys.stdout.write")]


@pytest.mark.parametrize("module", NODE, ids=by_name)
def test_the_clock_is_asked_in_one_place(module: Module) -> None:
    asks = re.compile(r"\b(date|datetime)(\.datetime)?\.(now|utcnow|today)$")
    assert not [f"line {line}: {name}" for line, name in module.calls if asks.search(name)]


@pytest.mark.parametrize("module", PRODUCT, ids=by_name)
def test_modules_are_short_and_say_what_they_are_for(module: Module) -> None:
    said = ast.get_docstring(module.tree)
    assert said, "the first lines say what this room is for"
    first = said.splitlines()[0]
    assert first[0].isupper() or first[0] == "`", f"the first line reads as a sentence: {first!r}"
    length = len(module.path.read_text("utf-8").splitlines())
    bound = LONGER_FOR_A_REASON.get(module.name, LONGEST)
    assert length <= bound, f"{length} lines, at most {bound}: a room that outgrows its file becomes a folder"


def test_exceptions_are_still_needed() -> None:
    lengths = {one.name: len(one.path.read_text("utf-8").splitlines()) for one in PRODUCT}
    assert not [name for name in LONGER_FOR_A_REASON if lengths.get(name, 0) <= LONGEST]


def test_every_layer_exists() -> None:
    rooms = {one.room for one in NODE}
    assert rooms == {room for line in LAYERS for room in line}


# The vectors' test compares the limits with the specification; the others are tested as parts of what uses them.
TESTED_ELSEWHERE = ("__init__", "limits", "message_fields", "items", "branch")


@pytest.mark.parametrize("name", [one.path.stem for one in PROTOCOL if one.path.stem not in TESTED_ELSEWHERE])
def test_each_rule_has_its_tests(name: str) -> None:
    assert (ROOT / "tests" / "protocol" / f"test_{name}.py").exists()


# ── the tests' own house ─────────────────────────────────────────────────────────────────────────


def test_tests_import_each_other_by_whole_names() -> None:
    """`from tests.protocol.builders import secret`: then modules of different folders may share a name."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    bare = {path.stem for path in paths}
    wrong = [
        f"{module.name}:{line}: {name}"
        for module in map(Module, paths)
        for line, name in module.imported
        if name.split(".")[0] in bare
    ]
    assert not wrong


SKIPS = """
import pytest

def test_runs():
    pass

def test_needs_more():
    pytest.skip("no browser here")

@pytest.mark.skip(reason="shared: not there")
def test_needs_shared():
    pass

@pytest.mark.skip(reason="kernel: no namespaces for you")
def test_needs_rights():
    pass

@pytest.mark.xfail(strict=True)
def test_known():
    assert False
"""


@pytest.mark.parametrize(
    ("required", "closing"),
    [("0", "1 passed, 3 skipped, 1 xfailed"), ("1", "1 failed, 1 passed, 2 skipped, 1 xfailed")],
)
def test_skips_fail_where_everything_is_required(tmp_path: Path, required: str, closing: str) -> None:
    folder = tmp_path / "main" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_skips.py").write_text(SKIPS, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", "utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(folder)],
        env={**os.environ, "REQUIRE_ALL": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert closing in ran.stdout.splitlines()[-1]
    assert ("no browser here" in ran.stdout) is (required == "1")
