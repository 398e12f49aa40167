from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from nanochat.report.collect import collect
from nanochat.report.markdown import duration, fence, inline, sparkline, to_markdown

GOLDEN = Path(__file__).parent.parent / "golden" / "report.md"

MODEL = {"sequence_len": 256, "vocab_size": 2048, "n_layer": 4, "n_head": 4, "n_embd": 256, "rope_base": 1e5}
PARAMETERS = {"total": 4_000_000, "wte": 524_288, "lm_head": 524_288, "matrices": 2_951_424}
MACHINE = {"cpu": "Some | CPU", "cores": 2, "memory_bytes": 8 * 2**30, "torch": "2.10.0", "compile": False}


def write(path: Path, *values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def task(accuracy: float, chance: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "n": 200, "low": accuracy - 0.05, "high": accuracy + 0.03, "chance": chance}


def run_stage(folder: Path, start: float, tasks: dict[str, Any]) -> None:
    """Twenty steps of falling loss, two evaluations, two samples; finished."""
    stage = folder.name
    losses = [start / (1 + n / 4) for n in range(20)]
    steps = [
        {
            "event": "StepDone",
            "time": 1.7e9 + n,
            "stage": stage,
            "step": n + 1,
            "total_steps": 20,
            "loss": loss,
        }
        | {"tokens_per_s": 5000.0 + n, "tokens": 4096 * (n + 1), "elapsed_s": 3.0 * (n + 1)}
        | {"mfu": 0.2 + n / 1000}
        for n, loss in enumerate(losses)
    ]
    bpb = [{"event": "Evaluated", "name": "val_bpb", "step": n, "value": start / n} for n in (2, 4)]
    write(folder / "events.jsonl", *steps, *bpb)
    data = {"name": "pocket", "documents": 12_345, "characters": 6_789_012}
    write(
        folder / "config.json",
        {"stage": stage, "model": MODEL, "parameters": PARAMETERS, "machine": MACHINE, "data": data},
    )
    write(folder / "eval" / "pocket.json", {"step": 20, "tasks": tasks, "elapsed_s": 12.5})
    write(folder / "eval" / "bpb.json", {"step": 20, "val_bpb": start / 4})
    write(folder / "finished.json", {"step": 20, "elapsed_s": 65.0, "tokens": 81_920, "peak_memory_bytes": 3 * 2**29})
    capital = "What is the capital of Japan?"
    write(
        folder / "samples.jsonl",
        {"step": 20, "prompt": capital, "answer": "Tokyo." if stage == "mid" else "of the ```the\n# the"},
        {"step": 20, "prompt": "Who are you?", "answer": "I am a \x1b[31msmall\x1b[0m model. <b>Hi</b>"},
    )


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A run with base and mid finished and sft just begun."""
    folder = tmp_path / "models" / "d4"
    run_stage(folder / "base", 8.0, {"facts": task(0.05, 0.0), "choice": task(0.25, 0.25)})
    run_stage(folder / "mid", 2.0, {"facts": task(0.9, 0.0), "choice": task(0.4, 0.25)})
    write(
        folder / "sft" / "events.jsonl",
        {"event": "StageStarted", "stage": "sft", "total_steps": 30},
        {"event": "Notice", "stage": "sft", "level": "warning", "message": "no C++ compiler: *not* compiled"},
        {"event": "StepDone", "step": 3, "total_steps": 30, "loss": 1.5, "tokens": 300, "elapsed_s": 4.0},
    )
    write(folder / "speedrun.json", {"preset": "pocket", "minutes": 6.5, "stages": ["base", "mid", "sft"]})
    return folder


def test_golden(model_dir: Path, request: pytest.FixtureRequest) -> None:
    text = to_markdown(collect(model_dir))
    if request.config.getoption("--update-golden", default=False):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_an_empty_run_says_what_is_missing(tmp_path: Path) -> None:
    text = to_markdown(collect(tmp_path / "d4"))
    for words in ("Nothing has been trained yet", "Not evaluated yet", "No samples yet", "Not known yet"):
        assert words in text


HOSTILE = [
    "```\n# Title\n```",
    "`````\n<script>alert(1)</script>",
    "~~~\n\n---\n[x](javascript:y)",
    "\n\n## Scores\n\n| a |\n|---|\n",
    "ends in `",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_model_says_stays_in_its_fence(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse("\n".join(["before", "", *fence(text), "", "after"]))
    assert [token.type for token in tokens if token.level == 0] == [
        *("paragraph_open", "paragraph_close", "fence", "paragraph_open", "paragraph_close")
    ]
    (block,) = [token for token in tokens if token.type == "fence"]
    assert block.content == text + "\n"


@pytest.mark.parametrize("text", [*HOSTILE, "a|b", "<b>x</b> &amp; *y* _z_ [l](u) ![i](u) \\|", "x\x1b]0;t\x07"])
def test_names_stay_plain_text_in_a_cell(text: str) -> None:
    table = f"| a | b |\n| --- | --- |\n| {inline(text)} | end |"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    assert sum(token.type == "td_open" for token in tokens) == 2
    (cell, _) = [t for i, t in enumerate(tokens) if t.type == "inline" and tokens[i - 1].type == "td_open"]
    assert {child.type for child in cell.children or []} <= {"text", "text_special"}


def test_control_characters_become_visible() -> None:
    assert fence("a\x1b[31m\u202eb\r\nc\td")[1:-1] == [
        "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b",
        "c\td",
    ]


def test_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert len(sparkline(list(range(1000)))) == 40
    assert sparkline([0, 0, 4, 4], width=2) == "▁█"


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59.4, 61, 3600, 11_100)] == [
        *("0 s", "59 s", "1 min 01 s", "1 h 00 min", "3 h 05 min")
    ]


def test_answers_that_changed_are_shown_with_their_steps(tmp_path: Path) -> None:
    told = [(10, "I am"), (20, "I am"), *((30 + at, f"I am {at}") for at in range(6))]
    records = [{"step": step, "prompt": "Who?", "answer": answer} for step, answer in told]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "samples.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    text = to_markdown(collect(tmp_path))
    shown = [line for line in text.splitlines() if line.startswith("sft, step")]
    assert shown == ["sft, step 10:", "sft, step 31:", "sft, step 33:", "sft, step 35:"]
    assert "sft, step 35:\n\n```text\nI am 5\n```" in text


def test_scores_during_training_are_a_table_of_their_own(tmp_path: Path) -> None:
    events = [
        {"event": "Evaluated", "step": step, "name": name, "value": value, "n": n}
        for step in range(10, 310, 10)
        for name, value, n in (("val_bpb", 0.5, 0), ("val/facts", step / 1000, 8), ("val/score", step / 2000, 0))
    ]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    text = to_markdown(collect(tmp_path))
    table = text.split("## During sft\n")[1].split("##")[0].strip().splitlines()
    assert table[2] == "| step | facts | score |"
    rows = [line for line in table[4:] if line]
    assert len(rows) == 12
    assert (rows[0], rows[-1]) == ("| 10 | 0.010 | 0.005 |", "| 300 | 0.300 | 0.150 |")
    assert "Not evaluated yet." in text


def test_preferences_have_no_bits_per_byte(tmp_path: Path) -> None:
    steps = [{"event": "StepDone", "stage": "sft", "step": n + 1, "loss": 0.5} for n in range(2)]
    validation = {"event": "Evaluated", "stage": "sft", "step": 2, "name": "val_loss", "value": 0.4, "n": 0}
    write(tmp_path / "sft" / "events.jsonl", *steps, validation)
    assert "| sft | 0.500 | 0.500 | - |" in to_markdown(collect(tmp_path))
    write(tmp_path / "sft" / "events.jsonl", *steps)
    assert "| sft | 0.500 | 0.500 | not evaluated yet |" in to_markdown(collect(tmp_path))


def test_reinforcement_learning_has_rewards_for_losses(tmp_path: Path) -> None:
    run_stage(tmp_path / "sft", 1.0, {})
    rollouts = [{"event": "RolloutsDone", "stage": "rl", "step": n + 1, "reward": n / 4} for n in range(4)]
    passes = [
        {"event": "Evaluated", "stage": "rl", "step": step, "name": name, "value": value, "n": 100, "chance": 0.03}
        for step, values in ((0, (0.4, 0.7, 0.6)), (4, (0.65, 0.8, 0.35)))
        for name, value in zip(("val/problems pass@1", "val/problems pass@4", "val_error"), values, strict=True)
    ]
    steps = [{"event": "StepDone", "stage": "rl", "step": n + 1, "loss": -0.1} for n in range(4)]
    write(tmp_path / "rl" / "events.jsonl", *rollouts, *steps, *passes)
    report = collect(tmp_path)
    assert report.stages[1].tasks == {}
    text = to_markdown(report)
    assert "| rl | 0.000 | 0.750 | problems pass@1 40.0% → 65.0%; problems pass@4 70.0% → 80.0% |" in text
    assert "| rl | -0.100" not in text
