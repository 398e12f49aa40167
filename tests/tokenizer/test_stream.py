from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import UsageError
from nanochat.tokenizer.stream import StreamDecoder
from nanochat.tokenizer.tokenizer import Tokenizer

# With bytes as tokens every character beyond ASCII is cut.
BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"))


@given(texts)
def test_pieces_are_whole_characters_and_join_to_the_text(text: str) -> None:
    decoder = StreamDecoder(BYTES)
    pieces = [decoder.push(token) for token in BYTES.encode(text)]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert decoder.finish() == ""


@given(st.lists(st.integers(0, BYTES.vocab_size - 1)))
def test_any_ids_join_to_the_full_decode(ids: list[int]) -> None:
    decoder = StreamDecoder(BYTES)
    pieces = [decoder.push(token) for token in ids]
    assert "".join(pieces) + decoder.finish() == BYTES.decode(ids)


def test_a_character_is_held_back_until_it_is_whole() -> None:
    decoder = StreamDecoder(BYTES)
    assert [decoder.push(token) for token in "🙂!".encode()] == ["", "", "", "🙂", "!"]


def test_finish_gives_up_on_half_a_character_and_starts_anew() -> None:
    decoder = StreamDecoder(BYTES)
    assert decoder.push(0xE2) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.push(ord("a")) == "a"


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(UsageError):
        StreamDecoder(BYTES).push(BYTES.vocab_size)
