"""A CSV file of unknown encoding and delimiter, read row by row.

Knows nothing of articles, and never holds more than one row: a file of a million rows is streamed.
The thing to understand: what is wrong with the whole file raises `UnreadableFile`, what is wrong with one
row is yielded as a `BadRow`, and reading goes on with the next.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coopnode.connectors.article import BadRow, Skipped
from protocol.shape import is_control

DELIMITERS = ",;\t|"
_HEAD_BYTES = 65_536
_BLOCK_BYTES = 1 << 20
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "is a spreadsheet or archive (xlsx, ods, zip), not a CSV file"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel spreadsheet (xls), not a CSV file"),
    (b"%PDF", "is a PDF document, not a CSV file"),
    (b"\x1f\x8b", "is compressed (gz), not a CSV file"),
    (b"\x89PNG", "is a picture, not a CSV file"),
    (b"\xff\xd8\xff", "is a picture, not a CSV file"),
)
_EXPORT = "open it in the program it comes from and export or save it as CSV"


class UnreadableFile(Exception):
    """The file as a whole cannot be imported; the message tells the shopkeeper what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number as a spreadsheet shows it, the line where it begins, and its trimmed cells."""

    number: int
    line: int
    cells: dict[str, str]

    def get(self, column: str) -> str:
        """Give the cell under *column* (in lower case), or an empty text."""
        return self.cells.get(column, "")

    def other_line(self) -> int | None:
        """Give the line if it differs from the row number."""
        return None if self.line == self.number else self.line

    def bad(self, cause: str) -> BadRow:
        """Say that this row cannot be imported."""
        return BadRow(self.number, cause, self.other_line())

    def skipped(self, cause: str) -> Skipped:
        """Say that this row is left out by rule."""
        return Skipped(self.number, cause, self.other_line())


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file whose encoding, delimiter and header are known.

    `header` is as written, `columns` the same in lower case without stray spaces.
    """

    path: Path
    encoding: str
    delimiter: str
    header_row: int
    header: tuple[str, ...]
    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row | BadRow]:
        """Read the rows below the header; each call begins anew. Empty rows are counted and passed over."""
        with self.path.open(encoding=self.encoding, errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            number = 0
            while True:
                number, line = number + 1, reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield BadRow(number, _csv_cause(error, line, reader.line_num), _other(number, line))
                    continue
                if number > self.header_row and any(cells):
                    yield self._row(number, line, reader.line_num, cells)

    def _row(self, number: int, line: int, last_line: int, cells: list[str]) -> Row | BadRow:
        cause = self._wrong_cells(cells, last_line - line)
        if cause:
            return BadRow(number, cause, _other(number, line))
        # Reversed, so that of two columns with one name the first is the one that counts.
        pairs = zip(reversed(self.columns), reversed(cells[: len(self.columns)]), strict=True)
        return Row(number, line, {column: cell.strip() for column, cell in pairs})

    def _wrong_cells(self, cells: list[str], line_breaks: int) -> str:
        want, have = len(self.columns), len(cells)
        if have < want:
            hint = "; perhaps a quotation mark is not closed" if line_breaks else ""
            return f"has {have} columns where the header has {want}{hint}"
        if any(cells[want:]):
            return (
                f"has {have} columns where the header has {want}; perhaps a text with '{self.delimiter}' is not quoted"
            )
        for cell in cells:
            if not cell.isascii() and "\ufffd" in cell:
                return "holds a character that cannot be read; save the file as UTF-8"
            if "\0" in cell:
                return "holds a NUL character; the file may be damaged"
        return ""


def open_table(path: Path) -> Table:
    """Find out encoding, delimiter and header of the CSV file at *path*. Raises UnreadableFile."""
    try:
        if path.is_dir():
            raise UnreadableFile(f"{path.name} is a folder: name the CSV file in it.")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        _refuse_other_kinds(path, head)
        encoding = _encoding(path, head)
        return _with_header(path, encoding)
    except FileNotFoundError as error:
        raise UnreadableFile(f"There is no file {path}: check its name and folder.") from error
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be opened ({error.strerror}): check its permissions.") from error


def count_rows(path: Path) -> int:
    """Estimate quickly how many rows follow the header; quoted line breaks are counted too."""
    lines, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            lines += block.count(b"\n") or block.count(b"\r")
            last = block[-2:]
    # The last line may lack its end; in UTF-16 a zero byte may follow it.
    is_ended = not last or last.rstrip(b"\0").endswith((b"\n", b"\r"))
    return max(0, lines - 1 if is_ended else lines)


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0"):
        raise UnreadableFile(f"{path.name} is empty: export it again, with a header row and your articles.")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise UnreadableFile(f"{path.name} {what}: {_EXPORT}.")
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith((b"<", b"\xff\xfe<", b"\xfe\xff\0<")):
        raise UnreadableFile(f"{path.name} is an XML or HTML file, not a CSV file: {_EXPORT}.")
    if start.startswith((b"{", b"[")):
        raise UnreadableFile(f"{path.name} is a JSON file, not a CSV file: {_EXPORT}.")


def _encoding(path: Path, head: bytes) -> str:
    """Name the encoding: by its mark, else UTF-8 if the file holds up as that, else Windows-1252."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if zeros and zeros.count(0) > len(zeros) * 0.7:
            return name
    controls = sum(byte < 32 and byte not in b"\t\r\n\f" for byte in head)
    if controls > max(8, len(head) // 20):
        raise UnreadableFile(f"{path.name} is not a text file: {_EXPORT}.")
    return _utf8_or_1252(path)


def _utf8_or_1252(path: Path) -> str:
    """Weigh readable against broken characters of the whole file read as UTF-8.

    One damaged row must not turn every umlaut of a UTF-8 file into two wrong characters.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    good = broken = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if block.isascii():
                continue
            text = decoder.decode(block)
            broken += text.count("\ufffd")
            good += sum(char > "\x7f" for char in text) - text.count("\ufffd")
    return "utf-8" if good >= broken else "cp1252"


def _with_header(path: Path, encoding: str) -> Table:
    """Read up to the first row that is not empty, which is the header."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        said = first.rstrip("\r\n").casefold()
        delimiter = said[4:] if _names_delimiter(said) else _delimiter(first)
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for number, cells in enumerate(reader, 1):
                if any(cells) and not _names_delimiter(delimiter.join(cells).casefold()):
                    return _table(path, encoding, delimiter, number, cells)
        except csv.Error as error:
            raise UnreadableFile(f"{path.name} has no readable header row ({error}): {_EXPORT}.") from error
    raise UnreadableFile(f"{path.name} is empty: export it again, with a header row and your articles.")


def _table(path: Path, encoding: str, delimiter: str, number: int, cells: list[str]) -> Table:
    while cells and not cells[-1].strip():
        cells.pop()
    header = tuple(" ".join(cell.lstrip("\ufeff").split()) for cell in cells)
    return Table(path, encoding, delimiter, number, header, tuple(name.casefold() for name in header))


def _names_delimiter(line: str) -> bool:
    """Whether *line* is the "sep=;" that Excel writes above the header."""
    return line.startswith("sep=") and len(line) == 5


def _delimiter(line: str) -> str:
    """Choose the delimiter that is most frequent outside quotation marks."""
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _csv_cause(error: csv.Error, first_line: int, last_line: int) -> str:
    if "field larger" in str(error):
        return (
            f"lines {first_line} to {last_line} are one text of more than {csv.field_size_limit()} characters; "
            "a quotation mark is probably not closed"
        )
    return f"is not proper CSV ({error})"


def _other(number: int, line: int) -> int | None:
    return None if number == line else line


def shown_columns(table: Table) -> str:
    """Name the first columns of the header for a message."""
    names = ["".join(char for char in name if not is_control(char))[:30] for name in table.header[:12]]
    return ", ".join(names) + (", ..." if len(table.header) > 12 else "")
