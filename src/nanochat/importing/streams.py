"""The bytes of a file, compressed or not, and the text of these bytes, block by block.

Covered: gzip, bzip2, xz (several members one after the other too) and zstd; what can be read of a damaged file comes
before the error; a small file that unpacks to something huge costs no memory. Not covered: archives (tar, zip).
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from nanochat.importing.places import Compression, TextFile
from nanochat.runtime.files import translate_os_errors

BLOCK = 1 << 20
_UNPACKED = 1 << 16  # bytes at a time: what has been unpacked of a lot that turns out to be damaged is lost

OnRead = Callable[[int], object]
"""Called with the number of bytes that were read from disk, each counted once."""


class Broken(Exception):
    """The rest of a file cannot be read; all that can was given before."""


def blocks(file: TextFile, on_read: OnRead | None = None) -> Iterator[bytes]:
    """The unpacked bytes of a file, a megabyte at a time at most.

    Raises:
        Broken: the compressed data is damaged or ends too early.
        StorageError: the file cannot be read.
    """
    with translate_os_errors(file.path), file.path.open("rb") as raw:
        if file.compression == "zstd":
            yield from _unzstd(_Counted(raw, on_read))
        elif file.compression:
            yield from _unpacked(_Counted(raw, on_read), file.compression)
        else:
            counted = _Counted(raw, on_read)
            while data := counted.read(BLOCK):
                yield data


def decoded(pieces: Iterator[bytes], encoding: str, on_bad: Callable[[int, int], object]) -> Iterator[str]:
    """Bytes as text. A byte order mark decides for UTF-8 or UTF-16, whatever the encoding asked for.

    Args:
        pieces: the bytes.
        encoding: a name that Python knows.
        on_bad: told (line, count) of characters that could not be decoded; U+FFFD stands in their place.

    Raises:
        Broken: as the bytes do, after the text before it.
    """
    first = next(pieces, b"")
    if first.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    elif first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    strict = codecs.getincrementaldecoder(encoding)()
    line = 1
    broken: Broken | None = None
    last = False
    while not last:
        piece, first = first, b""
        if not piece:
            try:
                piece = next(pieces, b"")
            except Broken as error:
                broken = error
            last = not piece
        state = strict.getstate()
        try:
            text = strict.decode(piece, last)
        except UnicodeDecodeError:
            lenient = codecs.getincrementaldecoder(encoding)("replace")
            lenient.setstate(state)
            text = lenient.decode(piece, last)
            strict.setstate(lenient.getstate())
            if broken is None or not last:  # a character that damage has cut in two is part of that damage
                on_bad(line + text.count("\n", 0, text.find("\ufffd")), text.count("\ufffd"))
        if text:
            yield text
            line += text.count("\n")
    if broken is not None:
        raise broken


class _Counted:
    """A file that tells how much was read of it."""

    def __init__(self, file: IO[bytes], on_read: OnRead | None) -> None:
        self._file = file
        self._on_read = on_read
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if self._on_read:
            self._on_read(len(data))
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class _Machine(Protocol):
    """What bz2 and lzma have: unpacks at most so many bytes at a time."""

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the manners of the other two."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int = _UNPACKED) -> bytes:
        unpacked = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(unpacked) < max_length and not self._zlib.unconsumed_tail
        return unpacked

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


_MACHINES: dict[Compression, Callable[[], _Machine]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def _unpacked(raw: _Counted, compression: Compression) -> Iterator[bytes]:
    machine: _Machine | None = None
    member = 0
    while True:
        data = raw.read(BLOCK)
        if not data:
            break
        while data or (machine is not None and not machine.needs_input):
            if machine is None:
                if member and not data.strip(b"\0"):  # padding, as on tapes
                    break
                machine, member = _MACHINES[compression](), member + 1
            try:
                unpacked = machine.decompress(data, _UNPACKED)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise Broken(f"damaged {compression} data ({_first_line(error)})") from error
            data = b""
            if unpacked:
                yield unpacked
            if machine.eof:
                data, machine = machine.unused_data, None
    if machine is not None:
        raise Broken(f"{compression} data ends too early")


def _unzstd(raw: _Counted) -> Iterator[bytes]:
    import pyarrow as pa

    source: Any = raw
    stream = pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd")
    while True:
        try:
            data = stream.read(_UNPACKED)
        except OSError as error:
            if error.errno is not None:
                raise
            raise Broken(f"damaged zstd data ({_first_line(error)})") from error
        if not data:
            return
        yield data


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
