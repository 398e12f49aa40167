"""Reading the tokenizer of the reference system: a pickled tiktoken Encoding.

A pickle is a program, and most of what it can do is harm. The reader here knows one name, `tiktoken.core.Encoding`,
and gives the program an inert stand-in for it that only keeps what it is given; any other name ends the
reading before it is looked up. Not covered: a file made to fill the memory.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.tokenizer import Tokenizer

KNOWN_CLASS = ("tiktoken.core", "Encoding")

_HINT = "do not use this file; --tokenizer names the one the model was trained with"


class _Encoding:
    """Stands in for the one known class: it is made without arguments and keeps the state it is given."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Refused(Exception):
    """The pickle asks for something else; the argument is its name."""


class _Reader(pickle.Unpickler):
    """Knows `KNOWN_CLASS` and nothing else."""

    def find_class(self, module: str, name: str) -> type[_Encoding]:
        """The stand-in for the one known name."""
        if (module, name) != KNOWN_CLASS:
            raise _Refused(f"{module}.{name}")
        return _Encoding


def read_pickled_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.pkl`, with its own pattern and special tokens.

    Raises:
        MissingError: there is no such file.
        UsageError: the pickle names anything but `KNOWN_CLASS`; nothing of it has been run.
        DamagedError: it is no pickle, or not of a usable tokenizer.
        StorageError: the file cannot be read.
    """
    with translate_os_errors(path):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(f"there is no tokenizer at {path}", "--tokenizer PATH names the file") from None
    try:
        encoding = _Reader(io.BytesIO(data)).load()
    except _Refused as refused:
        raise UsageError(f"{path} asks for {refused}; only a pickled {'.'.join(KNOWN_CLASS)} is read", _HINT) from None
    except Exception as error:  # a broken pickle can raise anything
        raise DamagedError(f"{path} is not a pickled tokenizer ({_short(error)})", _HINT) from None
    try:
        return _tokenizer(encoding)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{path} does not hold a usable tokenizer ({_short(error)})", _HINT) from None


def _tokenizer(encoding: Any) -> Tokenizer:
    """The tokenizer of a stand-in's state.

    Raises:
        ValueError, TypeError, KeyError: the state is not that of an Encoding.
    """
    if not isinstance(encoding, _Encoding) or not isinstance(encoding.state, dict):
        raise ValueError("not an Encoding")
    pattern, ranks = encoding.state["pat_str"], encoding.state["mergeable_ranks"]
    special = encoding.state["special_tokens"]
    if not isinstance(pattern, str) or not _maps(ranks, bytes) or not _maps(special, str):
        raise ValueError("pattern, ranks or special tokens are of another type")
    names = sorted(special, key=lambda name: special[name])
    if [special[name] for name in names] != list(range(len(ranks), len(ranks) + len(names))):
        raise ValueError("the ids of the special tokens must follow the merges without gaps")
    return Tokenizer(ranks, pattern, names)


def _maps(value: Any, key: type) -> bool:
    return isinstance(value, dict) and all(type(k) is key and type(v) is int for k, v in value.items())


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
