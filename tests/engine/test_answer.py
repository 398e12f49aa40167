from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nanochat.engine.answer import StopTexts


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    starts = [0, *ends[:-1]]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@given(
    st.text("abc", max_size=30),
    st.lists(st.integers(0, 30), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_shown_text_never_has_to_be_taken_back(text: str, cuts: list[int], stops: list[str]) -> None:
    reader, shown = StopTexts(tuple(stops)), ""
    for piece in pieces_of(text, cuts):
        shown += reader.push(piece)
        assert text.startswith(shown) and not any(stop in shown for stop in stops)
        if reader.found:
            break
    found = [text.find(stop) for stop in stops if stop in text]
    assert reader.found == bool(found)
    if not found:
        assert shown + reader.finish() == text
    else:
        assert reader.push("abc") == "" and reader.finish() == ""
        assert any(text.startswith(shown + stop) for stop in stops)


def test_only_what_may_be_a_stop_is_held_back() -> None:
    reader = StopTexts(("END",))
    assert [reader.push(piece) for piece in ("the E", "agle EN", "D of")] == ["the ", "Eagle ", ""]
    assert reader.found
    assert StopTexts(()).push("anything") == "anything"
