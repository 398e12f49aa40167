"""The process that runs the program. It is the one that cannot be believed; what it says is checked by `judge`."""

from __future__ import annotations

import sys
import types

from nanochat.runtime.sandbox.peer import OPERATIONS, Peer
from nanochat.runtime.sandbox.wire import Broken, Gone

TYPE_CHECKING = False  # `typing` takes long to import, see `verdicts`
if TYPE_CHECKING:
    from typing import Any

NAME = "<program>"
LONGEST_TRACEBACK = 8000  # characters: it quotes the source, whose lines may be long


def run(program: str, incoming: int, outgoing: int, *, judged: bool) -> int:
    """Run a program, then do what the judge asks for.

    Args:
        program: source.
        incoming: where the judge writes.
        outgoing: where it reads.
        judged: whether it asks anything; else the program is a script.

    Returns:
        Exit status of the process.
    """
    peer = Peer(
        incoming, outgoing, allowed=tuple(OPERATIONS), exports=True, before=_flush
    )  # who answered last is ended at once
    peer.send("ready")
    module = types.ModuleType("program" if judged else "__main__")
    sys.modules[module.__name__] = module
    sys.argv = [NAME]
    try:
        exec(compile(program, NAME, "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        if not judged:
            raise
        peer.send("failed", ["SystemExit"], "the program ended before its check")
        return 1
    except MemoryError as error:
        error.__traceback__ = None  # what fills the memory hangs on the frames, and on the module
        module.__dict__.clear()
        peer.send_error("failed", error)
        sys.stderr.write("MemoryError\n")
        return 1
    except BaseException as error:
        _show(error)
        peer.send_error("failed", error)
        return 1
    if judged:
        peer.send("loaded")
        try:
            _answer(peer, module)
        except (Gone, Broken):
            return 0  # the judge has seen enough
    return 0


def _answer(peer: Peer, module: types.ModuleType) -> None:
    while True:
        message = peer.receive()
        if message[0] == "names":
            found = {name: vars(module)[name] for name in message[1] if name in vars(module)}
            peer.send("answer", {name: _described(value) for name, value in found.items()})
        else:
            peer.serve(message)


def _described(value: Any) -> Any:
    """What a name stands for: a module and a class of exceptions are made anew over there, by their names."""
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, type) and issubclass(value, Exception):
        return ("exception", [kind.__name__ for kind in value.__mro__], value)
    return ("value", value)


def _show(error: BaseException) -> None:
    """The traceback as the interpreter prints it, from the program's own first line."""
    import traceback

    trace = error.__traceback__
    try:
        lines = traceback.format_exception(type(error), error, trace.tb_next if trace else None)
        sys.stderr.write("".join(lines)[-LONGEST_TRACEBACK:])
    except Exception:
        return  # an exception may refuse to be printed
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue  # the program may have closed or replaced it
