"""The vocabularies of GPT-2 and GPT-4, fetched once; without network they are simply not there.

tiktoken downloads them and keeps them, and waits for a server as long as the server likes. So it does that on
a thread of its own, which is left behind when the time is up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NAMES: dict[str, str] = {"GPT-2": "gpt2", "GPT-4": "cl100k_base"}
"""What people call them, and what tiktoken does."""

# 1.7 MB each from a server that is usually near.
TIMEOUT_S = 20.0
_MOMENT_S = 1.0


class Vocabulary(Protocol):
    """What is asked of another tokenizer: `tiktoken.Encoding` can do it."""

    @property
    def n_vocab(self) -> int:
        """Number of ids."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text, never special ones."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The vocabularies that could be had, and for each of the others why not, in one line."""

    found: dict[str, Vocabulary]
    missing: dict[str, str]


def fetch_vocabularies(
    cache: Path | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    get: Callable[[str], Vocabulary] | None = None,
    names: Mapping[str, str] = NAMES,
    on_wait: Callable[[], object] | None = None,
) -> Fetched:
    """Load what is in the cache, download what is not.

    Args:
        cache: folder to keep downloads in; None leaves the choice to tiktoken and its environment variables.
        timeout_s: for all of them together.
        get: from tiktoken's name to the vocabulary; by default `tiktoken.get_encoding`.
        names: which ones, as in `NAMES`.
        on_wait: told once when it takes longer than a moment.
    """
    found: dict[str, Vocabulary] = {}
    missing: dict[str, str] = {}

    def fetch() -> None:
        for name, key in names.items():
            try:
                found[name] = (get or _tiktoken)(key)
            except Exception as error:  # requests, urllib3, ssl, a bad checksum: all mean the same
                missing[name] = _reason(error)

    with _kept_in(cache):
        thread = threading.Thread(target=fetch, daemon=True, name="fetch-vocabularies")
        thread.start()
        thread.join(min(_MOMENT_S, timeout_s))
        if thread.is_alive() and on_wait:
            on_wait()
        thread.join(max(timeout_s - _MOMENT_S, 0.0))
    # copies: the thread may still be there and write into its own
    found, missing = dict(found), dict(missing)
    for name in names:
        if name not in found:
            missing.setdefault(name, f"no answer within {timeout_s:g} s")
    return Fetched(found, missing)


def _tiktoken(name: str) -> Vocabulary:
    import tiktoken

    return tiktoken.get_encoding(name)


@contextmanager
def _kept_in(cache: Path | None) -> Iterator[None]:
    """Point tiktoken at our folder of downloads, unless the person has pointed it elsewhere."""
    variable = "TIKTOKEN_CACHE_DIR"
    if cache is None or variable in os.environ or "DATA_GYM_CACHE_DIR" in os.environ:
        yield
        return
    os.environ[variable] = str(cache)
    try:
        yield
    finally:
        os.environ.pop(variable, None)


def _reason(error: Exception) -> str:
    """One short line; what requests says is five lines of nested objects."""
    kind = type(error).__name__
    plain = {
        "ConnectionError": "no connection",
        "ConnectTimeout": "no connection",
        "ReadTimeout": "the server does not answer",
        "ProxyError": "the proxy refuses",
        "SSLError": "the certificate is not trusted",
    }
    if kind in plain:
        return plain[kind]
    text = " ".join(str(error).split())
    return (text if len(text) <= 80 else f"{text[:79]}…") or kind
