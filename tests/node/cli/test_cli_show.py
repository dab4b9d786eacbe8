"""What reaches the terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from coopnode.cli import show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Brötchen 🥐 \u05dc\u05d7\u05dd", "Brötchen 🥐 \u05dc\u05d7\u05dd"),
        ("a\x1b[31mred", "a\ufffd[31mred"),
        ("a\x07\x7f\x9b", "a\ufffd\ufffd\ufffd"),
        ("price \u202e02.4", "price \ufffd02.4"),
        ("\u2066x\u2069", "\ufffdx\ufffd"),
        ("one\ntwo\tthree\r", "one two three\ufffd"),
        ("line\u2028para\u2029", "line\ufffdpara\ufffd"),
        ("lone \ud800", "lone \ufffd"),
        ("👩\u200d🌾", "👩\u200d🌾"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert show.clean(text) == shown


def test_lines_may_stay() -> None:
    assert show.clean("one\ntwo\x1b", lines=True) == "one\ntwo\ufffd"


def test_json_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"title": "\u202e\x1b[2J\x7fBrot\u0308"}
    show.as_json(value)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert json.loads(printed) == value


def test_a_piped_table_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    title = "a long title " * 30
    show.table(("title", ">stock"), [(title, 12), ("面包", 2.5), (None, "\x1b[1m")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith(title)
    assert lines[1].endswith("   12")
    assert "│" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_a_table_on_a_terminal_takes_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    show.table(("title", ">stock"), [("[red]Ham[/red] [link=x]", 12), ("\x1b]0;title\x07", 1)])
    assert "[red]Ham[/red] [link=x]" in terminal.getvalue()
    assert "\x1b]0" not in terminal.getvalue()


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        with show.progress("stock[1].csv", 10) as steps:
            steps.advance()
            steps.advance(9)
    assert "stock(1].csv" in terminal.getvalue()
    assert pipe.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_age(seconds: int | None, shown: str) -> None:
    assert show.age(seconds) == shown
