"""Lines of text from whatever a log holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runlogs import START, STEP_S, append, started, step, write_run

from nanochat.tui.watch import view
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model
from nanochat.tui.watch.series import AXES
from nanochat.tui.watch.summary import picture, values

NUMBERS = (
    st.none() | st.integers() | st.floats() | st.floats(-10, 10) | st.sampled_from([1e308, -1e308, 2**63, True, "7"])
)
STEPS = st.integers(-3, 40)


def records() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Logs in which any value may be anything, some of it plausible."""
    done = st.builds(
        lambda number, changes: {**step(number, 40), **changes},
        STEPS,
        st.dictionaries(st.sampled_from(list(step(1, 40))[1:]), NUMBERS, max_size=4),
    )
    begun = st.builds(lambda resumed, total: started(40, resumed) | {"total_steps": total}, st.none() | STEPS, NUMBERS)
    validated = st.builds(
        lambda at, value: {"event": "Evaluated", "step": at, "name": "val_bpb", "value": value, "time": START},
        STEPS,
        NUMBERS,
    )
    said = st.builds(
        lambda text, time: {"event": "Notice", "level": "warning", "message": text, "time": time}, st.text(), NUMBERS
    )
    sampled = st.builds(
        lambda at, text: {"event": "Sampled", "step": at, "prompt": text, "answer": text}, STEPS, st.text(max_size=20)
    )
    return st.lists(done | done | begun | validated | said | sampled, max_size=25)


@settings(max_examples=80, deadline=None)
@given(lines=records(), width=st.integers(1, 120), log=st.booleans(), axis=st.sampled_from(AXES))
def test_no_log_breaks_a_picture(
    lines: list[dict[str, Any]], width: int, log: bool, axis: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    append(folder / "d4" / "base" / "events.jsonl", *lines)
    append(folder / "d5" / "base" / "events.jsonl", *lines[::-1])
    model, other = Model(folder / "d4"), Model(folder / "d5")
    model.catch_up()
    other.catch_up()
    look = Look(axis=axis, log=log, cursor=7.0 if log else None)
    for line in picture(model, other.shown, look, START + 9, width, 20):
        assert "\x1b" not in line.plain
    for metric in view.PLOTS:
        assert len(view.plot(model.shown, other.shown, metric, look, width, 9).lines) == 9
    view.notices(model.shown)
    json.dumps(values(model, other.shown, look, START + 9), default=str)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200_000, "2 days ago")],
)
def test_ago(seconds: float, words: str) -> None:
    assert view.ago(seconds) == words


def test_the_head_says_what_is_wrong(tmp_path: Path) -> None:
    write_run(tmp_path / "d4" / "base")
    model = Model(tmp_path / "d4")
    assert "waiting for its first event" in view.head(model, START, 100)[0].plain
    model.take(model.read())
    now = START + 200 * STEP_S
    assert "▸ running" in view.head(model, now, 100)[0].plain
    assert "? no event for 1:06:40" in view.head(model, now + 4000, 100)[0].plain
    model.logs["base"].left = 1
    assert "reading its log: " in view.head(model, now, 100)[0].plain
    model.problem = "x: Permission denied\x1b[2J"
    assert "! cannot read x: Permission denied�[2J" in view.head(model, now, 100)[0].plain


def test_the_narrower_the_less_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "d4" / "base")
    model = Model(tmp_path / "d4")
    model.catch_up()
    before = 10_000
    for width in (200, 120, 80, 60, 40, 20, 5):
        lines = view.head(model, START, width)
        assert len(lines) == 3
        assert all(line.cell_len <= width for line in lines)
        said = sum(len(line.plain) for line in lines)
        assert said <= before
        before = said


def test_practice_shows_rewards_where_others_show_losses(tmp_path: Path) -> None:
    rollouts = {"event": "RolloutsDone", "stage": "rl", "answer_tokens": 9.0, "ended": 1.0, "telling": 0.5}
    events = [started(4)]
    for number in range(1, 5):
        paid = {"step": number, "reward": number / 5, "seconds": 1.0, "time": START + number}
        events += [{**rollouts, **paid}, step(number, 4, loss=-0.003)]
    append(tmp_path / "d4" / "rl" / "events.jsonl", *({**event, "stage": "rl"} for event in events))
    model = Model(tmp_path / "d4")
    model.catch_up()
    lines = [line.plain for line in picture(model, None, Look(), START + 9, 100, 12)]
    assert lines[1].startswith("reward 0.80")
    assert [line for line in lines if line.startswith("reward  0.8000")]
    assert not [line for line in lines if "loss" in line]
    assert values(model, None, Look(), START + 9)["loss"] == -0.003
