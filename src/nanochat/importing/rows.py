"""Rows of JSON and CSV files: each with the line it begins on.

    .jsonl    one object or string a line
    .json     one array of them, or several of them one after the other, over any number of lines
    .csv      the first row names the columns; fields may be quoted and then hold line ends

A row is what the file says it is, or `Bad` with the reason. Rows of more than 16 MiB are bad: memory is bounded.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nanochat.importing.streams import Broken

ROW_LIMIT = 16 << 20  # bytes, or characters where text is read

_SEPARATORS = re.compile(r"[\s,]*")
_TOO_LONG = f"longer than {ROW_LIMIT >> 20} MiB"


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be used."""

    why: str


def json_lines(pieces: Iterator[bytes]) -> Iterator[tuple[int, Any]]:
    """(line, value) of each line that is not blank.

    Raises:
        Broken: as the bytes do, after the whole lines before it.
    """
    for number, line in _lines(pieces):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > ROW_LIMIT:
            yield number, Bad(_TOO_LONG)
        elif line.strip():
            try:
                yield number, json.loads(line)
            except UnicodeDecodeError:
                yield number, _mended(line)
            except (ValueError, RecursionError):
                yield number, Bad("not JSON")


@dataclass(frozen=True, slots=True)
class Mended:
    """A value in whose text `count` characters were replaced, as the line is not UTF-8."""

    value: Any
    count: int


def _mended(line: bytes) -> Mended | Bad:
    text = line.decode("utf-8", "replace")
    try:
        return Mended(json.loads(text), text.count("\ufffd"))
    except (ValueError, RecursionError):
        return Bad("not JSON")


def _lines(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends. Of one that is too long only the beginning comes, too long still."""
    number = 1
    rest = b""
    for piece in pieces:
        *lines, last = piece.split(b"\n")
        for line in lines:
            yield number, rest + line
            rest = b""
            number += 1
        if len(rest) <= ROW_LIMIT:
            rest += last
    if rest:
        yield number, rest


def json_values(texts: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """(line, value) of the elements of an array, or of values that follow each other.

    Raises:
        Broken: from there on it is not JSON; or as the blocks do.
    """
    decoder = json.JSONDecoder()
    text, at, line = "", 0, 1
    wanted = 1  # characters that must be there before the next try
    in_array = ended = False
    first = True
    while True:
        while not ended and len(text) - at < wanted:
            block = next(texts, "")
            ended = not block
            text, at = text[at:] + block, 0
        behind = _end_of(_SEPARATORS, text, at)
        line += text.count("\n", at, behind)
        at = behind
        if at == len(text):
            if ended:
                break
            wanted = len(text) - at + 1
            continue
        if first and text[at] == "[":
            in_array = True
            at += 1
        elif in_array and text[at] == "]":
            in_array = False
            at += 1
        else:
            try:
                value, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                if not ended and len(text) - at <= ROW_LIMIT:
                    wanted = 2 * (len(text) - at)
                    continue
                raise Broken(f"line {line} is not JSON, and so is no more of it read") from error
            yield line, value
            line += text.count("\n", at, end)
            at = end
        first, wanted = False, 1
    if in_array:
        raise Broken(f"line {line}: the array does not end")


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def csv_rows(texts: Iterator[str], tabs: bool) -> Iterator[tuple[int, list[str] | Bad]]:
    """(line, fields) of each row that is not blank, the header first.

    Raises:
        Broken: a quotation that does not end; or as the blocks do, after the whole rows before it.
    """
    csv.field_size_limit(ROW_LIMIT)
    reader = csv.reader(_text_lines(texts), delimiter="\t" if tabs else ",", strict=True)
    width = 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise Broken(f"the quotation that begins on line {line} does not end") from error
            yield line, Bad(_TOO_LONG if "field limit" in str(error) else f"not CSV ({error})")
            continue
        if not fields:
            continue
        width = width or len(fields)
        if len(fields) == width:
            yield line, fields
        else:
            yield line, Bad(f"has {len(fields)} fields, the first line {width}")


def _text_lines(texts: Iterator[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        *lines, last = text.split("\n")
        for line in lines:
            yield f"{rest}{line}\n"
            rest = ""
        # a line without end is given in parts: the reader knows its own limit
        rest += last
        if len(rest) > ROW_LIMIT:
            yield rest + "\n"
            rest = ""
    if rest:
        yield rest
