from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nanochat.evaluation.vocabularies import NAMES, fetch_vocabularies


class Fake:
    n_vocab = 7

    def encode_ordinary(self, text: str) -> list[int]:
        return [0] * len(text)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)


def test_what_can_be_had() -> None:
    asked = []

    def get(name: str) -> Any:
        asked.append(name)
        return Fake()

    fetched = fetch_vocabularies(get=get, on_wait=lambda: asked.append("waited"))
    assert asked == ["gpt2", "cl100k_base"]
    assert list(fetched.found) == list(NAMES) == ["GPT-2", "GPT-4"]
    assert fetched.missing == {}


class SSLError(OSError):
    pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionError("a\nb"), "no connection"),
        (SSLError("x"), "the certificate is not trusted"),
        (ValueError("hash\nmismatch"), "hash mismatch"),
        (OSError("x" * 500), "x" * 79 + "…"),
        (KeyError(), "KeyError"),
    ],
)
def test_what_cannot_be_had_is_a_line_and_no_error(error: Exception, says: str) -> None:
    def get(name: str) -> Any:
        if name == "gpt2":
            raise error
        return Fake()

    fetched = fetch_vocabularies(get=get)
    assert list(fetched.found) == ["GPT-4"]
    assert fetched.missing == {"GPT-2": says}


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    release = threading.Event()

    def get(name: str) -> Any:
        release.wait(30)
        return Fake()

    started, waits = time.monotonic(), []
    fetched = fetch_vocabularies(get=get, timeout_s=0.1, on_wait=lambda: waits.append(1))
    assert waits == [1]
    assert time.monotonic() - started < 5
    assert fetched.found == {}
    assert fetched.missing == dict.fromkeys(NAMES, "no answer within 0.1 s")
    release.set()


def test_downloads_are_kept_in_our_cache_unless_one_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def get(name: str) -> Any:
        seen.append(os.environ.get("TIKTOKEN_CACHE_DIR"))
        return Fake()

    fetch_vocabularies(tmp_path, get=get)
    assert seen == [str(tmp_path)] * 2
    assert "TIKTOKEN_CACHE_DIR" not in os.environ
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "mine")
    fetch_vocabularies(tmp_path, get=get)
    assert seen[2:] == ["mine"] * 2
    assert os.environ["TIKTOKEN_CACHE_DIR"] == "mine"
