"""How values cross between the process of a program and the one that judges it: plain values alone, in a form that is
read without believing anything.

What is read is made of exact builtin types by construction, so an object that calls itself equal to everything cannot
arrive. A value is a letter for its type, then what it needs: numbers in text up to a semicolon, for a container the
count of its items and then these, for text the count of its bytes and then these.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False  # `typing` takes long to import, see `verdicts`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST_MESSAGE = 16 << 20
"""Bytes of one message. Judging needs a multiple of it, which must fit into the memory limit."""
LENGTH_BYTES = 4
END = ord(";")


class Gone(BaseException):  # no `except Exception` of a check may swallow it
    """The other process has closed the connection."""


class Broken(BaseException):  # see Gone
    """The other process sent something that is no message."""


class Pipes:
    """Messages over a pair of pipes.

    Args:
        incoming: descriptor to read from.
        outgoing: descriptor to write to.
        refer: the letter and number that stand for an object which is not plain.
        resolve: the object that such a letter and number stand for.
        ended: descriptor that can be read once the other process has ended. Children that it left may keep its end of
            the pipe open.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        refer: Callable[[Any], tuple[str, int]],
        resolve: Callable[[str, int], Any],
        ended: int | None = None,
    ) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.refer, self.resolve = refer, resolve
        self.ended = ended

    def send(self, *message: Any) -> None:
        """Write one message.

        Raises:
            Gone: nobody reads.
            OverflowError: it is too long.
            RecursionError: it is nested too deeply, or holds itself.
        """
        data = self.pack(message)
        if len(data) > LONGEST_MESSAGE:
            raise OverflowError(f"a value of {len(data)} bytes; at most {LONGEST_MESSAGE} can be looked at")
        view = memoryview(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        try:
            while view:
                view = view[os.write(self.outgoing, view) :]
        except OSError:
            raise Gone from None

    def receive(self) -> tuple[Any, ...]:
        """Wait for a message: a word and what belongs to it.

        Raises:
            Gone: none will come.
            Broken: it is none.
        """
        length = int.from_bytes(exactly(self.incoming, LENGTH_BYTES, self.ended), "big")
        if length > LONGEST_MESSAGE:
            raise Broken(f"a message of {length} bytes")
        reader = _Reader(exactly(self.incoming, length, self.ended), self.resolve)
        try:
            message = reader.value()
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from None
        if type(message) is not tuple or not message or type(message[0]) is not str:
            raise Broken("no message")
        return message

    def pack(self, value: Any) -> bytes:
        """One value as bytes."""
        parts: list[bytes] = []
        self._pack(value, parts.append)
        return b"".join(parts)

    def _pack(self, value: Any, add: Callable[[bytes], None]) -> None:
        """Objects of a class that extends a builtin one become those of the builtin one."""
        kind = type(value)
        if kind not in LETTERS:
            kind = next((known for known in LETTERS if isinstance(value, known)), object)
        letter = LETTERS.get(kind)
        if letter is None:
            letter, number = self.refer(value)
            add(b"%b%d;" % (letter.encode(), number))
        elif value is None:
            add(b"N")
        elif kind is bool:
            add(b"T" if value else b"F")
        elif kind is int:
            add(b"i%x;" % value)
        elif kind is float:
            add(b"f%b;" % float.hex(value).encode())
        elif kind is complex:
            add(b"c%b;%b;" % (value.real.hex().encode(), value.imag.hex().encode()))
        elif kind is range:
            add(b"r%x;%x;%x;" % (value.start, value.stop, value.step))
        elif kind is str:
            data = value.encode("utf-8", "surrogatepass")
            add(b"s%d;%b" % (len(data), data))
        elif kind is bytes or kind is bytearray:
            add(b"%b%d;%b" % (letter.encode(), len(value), value))
        else:
            add(b"%b%d;" % (letter.encode(), len(value)))
            for item in value.items() if kind is dict else value:
                if kind is dict:
                    self._pack(item[0], add)
                    self._pack(item[1], add)
                else:
                    self._pack(item, add)


LETTERS: dict[type, str] = {
    type(None): "N",
    bool: "T",
    int: "i",
    float: "f",
    str: "s",
    list: "l",
    tuple: "t",
    dict: "d",
    set: "e",
    frozenset: "z",
    bytes: "b",
    bytearray: "a",
    complex: "c",
    range: "r",
}
"""`bool` before `int`, which it extends. Further letters are those of `refer`."""


class _Reader:
    """Takes a value from bytes that anybody may have written.

    Raises:
        ValueError, TypeError, LookupError, OverflowError, RecursionError: they are no value.
    """

    def __init__(self, data: bytes, resolve: Callable[[str, int], Any]) -> None:
        self.data, self.resolve = data, resolve
        self.place = 0

    def value(self) -> Any:
        letter = chr(self.data[self.place])
        self.place += 1
        if letter in "NTF":
            return {"N": None, "T": True, "F": False}[letter]
        text = self._text()
        if letter == "i":
            return int(text, 16)
        if letter == "f":
            return float.fromhex(text)
        if letter == "c":
            return complex(float.fromhex(text), float.fromhex(self._text()))
        if letter == "r":
            return range(int(text, 16), int(self._text(), 16), int(self._text(), 16))
        count = int(text)
        if letter in "sba":
            data = self._bytes(count)
            return (
                data.decode("utf-8", "surrogatepass")
                if letter == "s"
                else bytes(data)
                if letter == "b"
                else bytearray(data)
            )
        if letter == "l":
            return [self.value() for _ in range(count)]
        if letter == "t":
            return tuple([self.value() for _ in range(count)])
        if letter == "e":
            return {self.value() for _ in range(count)}
        if letter == "z":
            return frozenset([self.value() for _ in range(count)])
        if letter == "d":
            return {self.value(): self.value() for _ in range(count)}
        return self.resolve(letter, count)

    def _text(self) -> str:
        end = self.data.index(END, self.place)
        text = self.data[self.place : end].decode("ascii")
        self.place = end + 1
        return text

    def _bytes(self, count: int) -> bytes:
        end = self.place + count
        if not self.place <= end <= len(self.data):
            raise ValueError("bytes are missing")
        data = self.data[self.place : end]
        self.place = end
        return data


def exactly(descriptor: int, count: int, ended: int | None = None) -> bytes:
    """So many bytes and not one more, unless `ended` can be read and no more comes.

    Raises:
        Gone: the other side has ended.
    """
    parts = []
    while count:
        if ended is not None and descriptor not in select.select([descriptor, ended], [], [])[0]:
            raise Gone
        try:
            part = os.read(descriptor, min(count, 1 << 20))
        except OSError:
            part = b""
        if not part:
            raise Gone
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
