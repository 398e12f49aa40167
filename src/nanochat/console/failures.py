"""What went wrong, in the words a person reads: of click's errors, of the file system's, of memory's.

Each function gives an `Ending` whose lines are safe to print; `nanochat.cli` prints them and exits.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from nanochat.errors import NanochatError, OutOfMemoryError
from nanochat.runtime.launch.ending import Ending


def failure(message: str, hint: str, exit_code: int) -> Ending:
    """What happened and what to do next, one line each."""
    return Ending(exit_code=exit_code, message=_one_line(message), hint=_one_line(hint))


def _one_line(text: str) -> str:
    from nanochat.console.words import safe  # names of files and what manifests say may come from strangers

    return safe(" ".join(text.split()))


def usage_failure(error: click.UsageError, command: str) -> Ending:
    """What is wrong with the words of a command line.

    Args:
        error: by click.
        command: whose help page to name where the error does not know.
    """
    name = error.ctx.command_path if error.ctx else command
    return failure(_usage_message(error), f"{name} --help", error.exit_code)


def _usage_message(error: click.UsageError) -> str:
    """The message in our words: `no such option --dept; did you mean --depth?`."""
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}{_suggest(error.possibilities)}"
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"no such command {error.command_name!r}{_suggest(_close_commands(error))}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        choices = error.param.type.get_missing_message(param=error.param, ctx=error.ctx) or ""
        return f"{_label(error.param)} is not given. {choices}".rstrip(" .")
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_label(error.param)}: {error.message.rstrip('.')}"
    message = _one_line(error.format_message())
    return message[:1].lower() + message[1:].rstrip(".")


def _label(param: click.Parameter) -> str:
    """The flag of an option, the word in capitals of an argument as its help page has it."""
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name.rstrip(".")


def _close_commands(error: click.exceptions.NoSuchCommand) -> list[str]:
    from difflib import get_close_matches

    group = error.ctx.command if error.ctx else None
    names = group.list_commands(error.ctx) if error.ctx and isinstance(group, click.Group) else []
    return get_close_matches(error.command_name, names)


def _suggest(possibilities: Sequence[str] | None) -> str:
    return f"; did you mean {possibilities[0]}?" if possibilities else ""


def os_failure(error: OSError) -> Ending:
    """Errors of the file system that a person can mend; others are bugs and are raised again."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR)
    if not full and not (refused and error.filename):
        raise error
    from nanochat.runtime.files import translate_os_errors

    try:
        with translate_os_errors(Path("the disk")):
            raise error
    except NanochatError as translated:
        return failure(translated.message, translated.hint, translated.exit_code)


def memory_failure(error: BaseException, hint: str) -> Ending:
    """Memory has ended; the first line of the error says which and how much."""
    detail = str(error).strip().split("\n")[0]
    return failure(f"out of memory: {detail}" if detail else "out of memory", hint, OutOfMemoryError.exit_code)


def stdout_is_closed() -> bool:
    """Whether the reader of our output has gone; if so the rest goes to nowhere, so that exit is quiet."""
    import select

    try:
        stdout = sys.stdout.fileno()
        poll = select.poll()  # not on Windows, where a closed pipe is another error anyway
    except (AttributeError, OSError, ValueError):
        return False
    poll.register(stdout, 0)
    if not poll.poll(0):  # nothing was asked for, so any answer is POLLERR or POLLHUP
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return True
