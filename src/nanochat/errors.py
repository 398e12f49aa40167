"""The errors a person can see, sorted by who can mend them.

The library raises these; only `nanochat.cli` prints them (two lines: what happened, what to do next) and turns
`exit_code` into the exit status of the process. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations


class NanochatError(Exception):
    """Base of every expected error.

    Args:
        message: what happened, one line.
        hint: what to do next, one line; a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NanochatError):
    """The request itself cannot work: sizes that do not divide, an unknown key, an impossible value."""

    exit_code = 2


class MissingError(NanochatError):
    """Something must be made first; the hint is the command that makes it."""

    exit_code = 3


class OutOfMemoryError(NanochatError):
    """The device is too small for these settings; the hint names the flag to lower."""

    exit_code = 4


class DivergedError(NanochatError):
    """Training produced losses that are not numbers."""

    exit_code = 5


class StorageError(NanochatError):
    """The file system said no: disk full, read-only, permission, a failing device."""


class DownloadError(NanochatError):
    """A server or the network said no; what has arrived is kept, and the same command goes on from there."""


class DamagedError(NanochatError):
    """A file is not what its manifest says; the message names it."""


class ConversationError(NanochatError):
    """A conversation that cannot be rendered: wrong roles, empty, unknown parts."""

    exit_code = 2


class ContextError(NanochatError):
    """The prompt is longer than the context of the model."""

    exit_code = 2


class Interrupted(NanochatError):
    """Stopped on request with everything saved; the same command goes on from there."""

    exit_code = 75
