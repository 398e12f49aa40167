"""The JSON values of a file, one after the other, each with its place: lines of JSONL, or items of an array.

Which of them it is, or a single value over many lines, shows in the file, not in its name. Compressed files (.gz)
are unpacked into a temporary file that is gone with the process. Whatever the size of the file, one value of it is in
memory at a time; an array is cut into its items by brackets alone, so that a broken item does not hide the others.
"""

from __future__ import annotations

import gzip
import json
import mmap
import re
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import translate_os_errors
from nanochat.tasks.formats import looks_like_turns

MAX_BYTES = 1 << 26
"""Of one value: far above any conversation, and what a file without line breaks may take of memory."""

_BOM = b"\xef\xbb\xbf"
# strings are passed over whole; possessive, so that no length of them takes memory
_SIGNS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Record:
    """Where a value stands: the line it begins in, counted from 1, and its bytes. `item` counts those of an array."""

    line: int
    start: int
    size: int
    item: int | None = None

    @property
    def place(self) -> str:
        """As messages say it."""
        return f"line {self.line}" if self.item is None else f"item {self.item} (line {self.line})"


class RecordFile:
    """An open file of JSON values.

    Args:
        path: .jsonl, .json, either of them .gz; other names are read alike.
        temporary: folder for the unpacked text of compressed files; by default the system's.

    Raises:
        MissingError: no such file.
        UsageError: a folder.
        DamagedError: it cannot be unpacked.
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path, temporary: Path | None = None) -> None:
        self.path = path
        with translate_os_errors(path):
            if path.is_dir():
                raise UsageError(f"{path} is a folder", "name a file of conversations in it")
            if not path.exists():
                raise MissingError(f"there is no file {path}", "give a file of conversations, JSONL or JSON")
            self._file = _unpacked(path, temporary) if path.suffix == ".gz" else path.open("rb")
            # closed with the last who holds this: conversations are read as long as a stage runs
            weakref.finalize(self, self._file.close)
            self._size = self._file.seek(0, 2)
        self._skip = len(_BOM) if self._bytes(0, len(_BOM)) == _BOM else 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self, start: int, size: int) -> bytes:
        """Bytes of a value."""
        with translate_os_errors(self.path):
            return self._bytes(start, size)

    def __iter__(self) -> Iterator[Record]:
        """Every value that is not blank; one that is too long has size 0."""
        with translate_os_errors(self.path):
            form = self._form()
            if form == "value":
                yield Record(1, self._skip, self._size - self._skip)
            else:
                yield from self._items() if form == "array" else self._lines()

    def _bytes(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def _lines(self) -> Iterator[Record]:
        start, line = self._skip, 0
        while True:
            self._file.seek(start)
            data = self._file.readline(MAX_BYTES + 1)
            if not data:
                return
            line += 1
            size = len(data)
            while not data.endswith(b"\n") and (data := self._file.readline(MAX_BYTES)):
                size += len(data)
            if size > MAX_BYTES:
                yield Record(line, start, 0)
            elif data.strip() or size > len(data):
                yield Record(line, start, size)
            start += size

    def _items(self) -> Iterator[Record]:
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            depth, item, line, counted = 0, 0, 1, 0
            begin = end = 0
            for match in _SIGNS.finditer(text, self._skip):
                sign = text[match.start()]
                depth += (sign in b"[{") - (sign in b"]}")
                end = match.end()
                if sign == ord("[") and depth == 1:
                    begin = end
                elif (sign == ord(",") and depth == 1) or depth == 0:
                    start, stop = _trimmed(text, begin, match.start())
                    if stop > start:
                        item += 1
                        line += _count_lines(text, counted, start)
                        counted = start
                        yield Record(line, start, stop - start if stop - start <= MAX_BYTES else 0, item)
                    begin = end
                    if depth == 0:
                        break
            if depth:
                raise DamagedError(
                    f"{self.path}: the array is not closed (after item {item}, line {line})", "is the file cut short?"
                )
            rest = _trimmed(text, end, len(text))
            if rest[1] > rest[0]:
                raise DamagedError(
                    f"{self.path}: something follows the array's end (line {line + _count_lines(text, counted, end)})",
                    "an array is the whole file; else one conversation a line",
                )

    def _form(self) -> Literal["lines", "array", "value"]:
        """What the file is: values in lines, an array of them, or a single one written over several lines.

        A first line that is a value of its own, with others behind it, makes it lines.
        """
        self._file.seek(self._skip)
        first = self._next_line()
        opening = first.lstrip()[:1]
        try:
            value = json.loads(first) if opening else None
        except (ValueError, RecursionError):
            if opening == b"{" and self._size <= MAX_BYTES and _is_json(self._bytes(self._skip, self._size)):
                return "value"
            return "array" if opening == b"[" else "lines"
        single = opening == b"[" and not self._next_line()
        return "array" if single and not looks_like_turns(value) else "lines"

    def _next_line(self) -> bytes:
        """The next line that is not blank, or its beginning when it is too long; empty at the end."""
        while line := self._file.readline(MAX_BYTES):
            if line.strip():
                return line
        return b""


def parse(data: bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: what is wrong with it, in words.
    """
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte 0x{data[error.start]:02X} at position {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None


def _is_json(data: bytes) -> bool:
    try:
        parse(data)
    except ValueError:
        return False
    return True


def _unpacked(path: Path, temporary: Path | None) -> IO[bytes]:
    if temporary:
        temporary.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115  # the caller closes it
    try:
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        file.close()
        raise DamagedError(f"{path} cannot be unpacked: {error}", "copy or download it again") from error
    except BaseException:
        file.close()
        raise
    return file


def _trimmed(text: mmap.mmap, start: int, stop: int) -> tuple[int, int]:
    while start < stop and text[start] in b" \t\r\n":
        start += 1
    while stop > start and text[stop - 1] in b" \t\r\n":
        stop -= 1
    return start, stop


def _count_lines(text: mmap.mmap, start: int, stop: int) -> int:
    return sum(text[at : min(at + MAX_BYTES, stop)].count(b"\n") for at in range(start, stop, MAX_BYTES))
