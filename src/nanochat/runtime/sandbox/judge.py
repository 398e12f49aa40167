"""The process that decides. It holds the check, which the program never sees, and compares in its own memory."""

from __future__ import annotations

import builtins
import os
import sys
import types

from nanochat.runtime.sandbox import verdicts
from nanochat.runtime.sandbox.peer import Peer
from nanochat.runtime.sandbox.wire import Broken, Gone

TYPE_CHECKING = False  # `typing` takes long to import, see `verdicts`
if TYPE_CHECKING:
    from typing import Any

    from nanochat.runtime.sandbox.verdicts import Verdict

NAME = "<check>"
SIGXCPU = 24  # the same everywhere; `signal` takes long to import
LONGEST_DETAIL = 500  # characters


def loading(peer: Peer) -> Verdict | None:
    """Wait until the program has run from its first to its last line. None when it is ready to be checked."""
    message = peer.receive()
    if message[0] == "loaded":
        return None
    return _of_error(peer._error(message))


def judge(peer: Peer, check: str) -> Verdict:
    """Run the check against what the program defines.

    Args:
        peer: connection to the program.
        check: trusted source. Names that it uses, does not define and that are no builtins are the program's, as they
            are at this moment; modules of the standard library are the real ones. An exception means failure.
    """
    try:
        code = compile(check, NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return verdicts.INFRASTRUCTURE, f"the check is no Python: {error}"
    try:
        scope = {"__name__": "check", **_program_names(peer, code)}
        exec(code, scope)
    except (Gone, Broken):
        pass
    except BaseException as error:
        if peer.lost is None:
            return _of_error(error)
    if peer.lost is not None:  # also when the check went on without noticing
        raise peer.lost
    return verdicts.PASSED, ""


def ended(status: int | None) -> Verdict:
    """Why a program is gone.

    Args:
        status: of `waitpid`; None while the process is there.
    """
    if status is None:
        return verdicts.FAILED, "the program closed its connection"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == SIGXCPU:
            return verdicts.TIMED_OUT, "processor time"
        return verdicts.CRASHED, f"the program was ended by signal {number}"
    return verdicts.FAILED, f"the program ended with status {os.WEXITSTATUS(status)}"


def _program_names(peer: Peer, code: types.CodeType) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    names = sorted(_free_names(code) - set(dir(builtins)))
    found = peer.ask("names", names)
    for name in names:
        kind, value, *_ = found.get(name, ("missing", None))
        if kind == "module":
            # by the name that the check says: a program cannot slip in another module as, say, its `math`
            if name in sys.stdlib_module_names:
                scope[name] = __import__(name)
        elif kind == "exception":
            parents = [getattr(builtins, parent, None) for parent in value]
            parent = next(
                kind for kind in [*parents, Exception] if isinstance(kind, type) and issubclass(kind, Exception)
            )
            scope[name] = peer.classes[name] = type(name, (parent,), {"__module__": "program"})
        elif kind == "value":
            scope[name] = value
    return scope


def _free_names(code: types.CodeType) -> set[str]:
    """Global names of a piece of code and of the functions in it; attributes are among them, which does no harm."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _free_names(constant)
    return names


def _of_error(error: BaseException) -> Verdict:
    words = " ".join(str(error).split())[:LONGEST_DETAIL]
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line} of the check)" if line else ""
    text = f"{type(error).__name__}{': ' if words else ''}{words}{where}"
    return (verdicts.OUT_OF_MEMORY if isinstance(error, MemoryError) else verdicts.FAILED), text
