"""Calls from one process into another, in both directions: the judge calls what a program defines, and a program calls
the functions that a check hands it. An object that is not plain stays where it is; the other side holds a number.

Of what the judge compares nothing ever travels: an object from the other side answers calls, attributes, items and
iteration, but is equal to itself alone and takes part in no arithmetic. So it cannot look at what it is compared with.
"""

from __future__ import annotations

import builtins

from nanochat.runtime.sandbox.wire import Broken, Gone, Pipes

TYPE_CHECKING = False  # `typing` takes long to import, see `verdicts`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MINE, YOURS = "o", "O"
"""Letters for an object of the side that writes, and for one of the side that reads."""
LONGEST_WORDS = 2000  # characters of an exception's message that travel

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, args, kwargs: target(*args, **kwargs),
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "put": lambda target, key, value: target.__setitem__(key, value),
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
}


class RemoteError(Exception):
    """The other side raised something that has no builtin name."""


class Peer:
    """One end of the conversation.

    Args:
        incoming: descriptor to read from.
        outgoing: descriptor to write to.
        allowed: of `OPERATIONS`, what the other side may do here.
        exports: whether any object may be handed out; else only what can be called.
        ended: see `Pipes`.
        before: called before anything is sent.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        *,
        allowed: tuple[str, ...],
        exports: bool,
        ended: int | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.before = before
        self.pipes = Pipes(incoming, outgoing, self._refer, self._resolve, ended)
        self.allowed = allowed
        self.exports = exports
        self.lost: Gone | Broken | None = None
        self.classes: dict[str, type[Exception]] = {}
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}

    def ask(self, operation: str, *operands: Any) -> Any:
        """Have the other side do something and wait for the answer, serving it meanwhile.

        Raises:
            Gone, Broken: there will be no answer, to this or anything else.
            Exception: what was raised there, as the builtin class of its name, or as `RemoteError`.
        """
        self.send(operation, *operands)
        while True:
            message = self.receive()
            if message[0] == "answer":
                return self._answer(message, operands[1:] if operation == "call" else ())
            if message[0] == "error":
                raise self._error(message)
            self.serve(message)

    def send(self, *message: Any) -> None:
        """Write a message; a connection that broke once stays broken."""
        self.before()
        self._unless_lost(lambda: self.pipes.send(*message))

    def receive(self) -> tuple[Any, ...]:
        """Wait for a message; a connection that broke once stays broken."""
        return self._unless_lost(self.pipes.receive)

    def serve(self, message: tuple[Any, ...]) -> None:
        """Do what the other side asks, and answer."""
        operation, *operands = message
        if operation not in self.allowed or not operands:
            self.lost = Broken(f"asked for {operation!r}"[:100])
            raise self.lost
        given = operands[1:3] if operation == "call" else []
        before = self.pipes.pack([_changeable(values) for values in given])
        try:
            value = OPERATIONS[operation](*operands)
            after = [_changeable(values) for values in given]
            self.send("answer", value, *(after if self.pipes.pack(after) != before else ()))
        except (Gone, Broken):
            raise
        except BaseException as error:
            error.__traceback__ = None  # its frames may hold all the memory there is
            self.send_error("error", error)

    def send_error(self, kind: str, error: BaseException) -> None:
        """Tell the other side of an exception."""
        try:
            alone = len(error.args) == 1 and type(error.args[0]) is str  # `str` of a KeyError adds quotes
            words = str(error.args[0] if alone else error)[:LONGEST_WORDS]
        except BaseException:
            words = ""
        self.send(kind, [kind.__name__ for kind in type(error).__mro__], words)

    def _unless_lost(self, act: Callable[[], Any]) -> Any:
        if self.lost is not None:
            raise self.lost
        try:
            return act()
        except (Gone, Broken) as lost:
            self.lost = lost
            raise

    def _answer(self, message: tuple[Any, ...], given: tuple[Any, ...]) -> Any:
        if len(message) < 2:
            self.lost = Broken("an answer without a value")
            raise self.lost
        for values, changes in zip(given, message[2:], strict=False):
            if type(changes) is dict:
                for key, new in changes.items():
                    _replace(values, key, new)
        return message[1]

    def _error(self, message: tuple[Any, ...]) -> Exception:
        names, words = (*message[1:], (), "")[:2]
        for name in names if type(names) is list else ():
            kind = self.classes.get(name) or getattr(builtins, name, None) if type(name) is str else None
            if isinstance(kind, type) and issubclass(kind, Exception):
                try:
                    return kind(words)
                except Exception:  # it takes other arguments than one text
                    break
        return RemoteError(f"{names[0] if names else 'an error'}: {words}")

    def _refer(self, value: Any) -> tuple[str, int]:
        if type(value) is Remote:
            return YOURS, value._number
        if not self.exports and not callable(value):
            raise TypeError(f"{type(value).__name__} objects cannot be handed to the program")
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._objects[number] = value  # keeps it alive, and so its id its own
        return MINE, number

    def _resolve(self, letter: str, number: int) -> Any:
        if letter == YOURS:
            return self._objects[number]
        if letter == MINE:
            return Remote(self, number)
        raise ValueError(f"no value is a {letter!r}")


class Remote:
    """An object on the other side."""

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it there. Lists, dictionaries, sets and bytearrays that it changes are changed here too."""
        return self._peer.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._peer.ask("item", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._peer.ask("put", self, key, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._peer.ask("iter", self)
        while True:
            try:
                item = self._peer.ask("next", iterator)
            except StopIteration:
                return
            yield item

    def __next__(self) -> Any:
        return self._peer.ask("next", self)

    def __len__(self) -> int:
        return self._exactly("len", int)

    def __bool__(self) -> bool:
        return self._exactly("bool", bool)

    def __str__(self) -> str:
        return self._exactly("str", str)

    def __repr__(self) -> str:
        return self._exactly("repr", str)

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and other._number == self._number and other._peer is self._peer

    def __hash__(self) -> int:
        return hash(self._number)

    def _exactly(self, operation: str, kind: type) -> Any:
        value = self._peer.ask(operation, self)
        if type(value) is not kind:
            raise TypeError(f"{operation}() of the program is no {kind.__name__}")
        return value


def _changeable(values: Any) -> dict[Any, Any]:
    """Those arguments of a call that it may change, by their number or name."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {key: value for key, value in pairs if type(value) in (list, dict, set, bytearray)}


def _replace(values: Any, key: Any, new: Any) -> None:
    """Gives an argument the contents that a call left in it."""
    try:
        old = values[key]
    except (LookupError, TypeError):
        return
    if type(old) is not type(new):
        return
    if isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)
