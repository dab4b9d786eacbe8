"""Every command explains itself, has an example, and stands in docs/commands.md."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from coopnode import __version__
from coopnode.cli import main

DOC = Path(__file__).parents[3] / "docs" / "commands.md"


def all_commands(
    command: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from all_commands(inner, (*words, name))


COMMANDS = dict(all_commands(main))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "coopnode")
def test_help_has_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "coopnode" in result.stdout.partition("Example")[2]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "coopnode")
def test_every_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    options = [one for one in COMMANDS[words].params if isinstance(one, click.Option)]
    assert all(one.help for one in options)


def test_the_examples_are_commands() -> None:
    for words, command in COMMANDS.items():
        for line in (command.help or "").partition("Example:\n")[2].splitlines():
            typed = line.split()
            if not typed or typed[0] != "coopnode":
                continue
            names = [word for word in typed[1:] if not word.startswith(("-", "/"))]
            assert names[0] in main.commands, line
            if words:
                assert tuple(names[: len(words)]) == words, line


def sections() -> dict[tuple[str, ...], str]:
    """Return docs/commands.md by command."""
    found = {}
    for part in DOC.read_text("utf-8").split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        words = heading.strip("` ").split()
        if words[:1] == ["coopnode"]:
            found[tuple(words[1:])] = text
    return found


def test_the_reference_has_every_command_and_no_other() -> None:
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "coopnode")
def test_the_reference_has_every_option_and_argument(words: tuple[str, ...]) -> None:
    text = sections()[words]
    for one in COMMANDS[words].params:
        if isinstance(one, click.Option):
            assert all(f"`{name}" in text for name in one.opts), f"{one.opts} is missing"
        else:
            assert (one.human_readable_name).upper() in text or isinstance(one.type, click.Choice)


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"coopnode {__version__}\n"


def test_wrong_use_exits_with_2() -> None:
    assert CliRunner().invoke(main, ["stock", "frobnicate"]).exit_code == 2
    assert CliRunner().invoke(main, ["stock", "set", "A"]).exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, coopnode.cli;"
        "print([name for name in ('aiohttp', 'tantivy', 'sqlite_utils', 'cryptography', 'rich', 'msgpack')"
        " if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "coopnode", "--help"], capture_output=True, check=True)
        return time.monotonic() - began

    # The best of some: other processes of this machine may take their time.
    assert min(seconds() for _ in range(5)) < 0.5
