"""Scores of a trained stage, kept beside the model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.checkpoints.evals import read_evals
from nanochat.commands.models_diff import as_lines, as_values
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.engine import load as loading
from nanochat.engine.load import load_engine
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.report.collect import collect
from nanochat.report.markdown import to_markdown
from nanochat.runtime.events import Evaluated, Event, Notice, StageProgress, read_events
from nanochat.runtime.hub import Hub
from nanochat.stages.chat_results import is_evaluated
from nanochat.stages.compare import compare_models
from nanochat.stages.evaluate import choose_tasks, evaluate_chat
from nanochat.stages.evaluate_base import evaluate_base
from nanochat.tasks.hub import Places
from nanochat.tasks.registry import open_task

SMALL = ChatEvalConfig(tasks="facts,choice", max_problems=6, batch_size=4, max_new_tokens=4, device="cpu", threads=1)


@pytest.fixture
def own(trained: dict[str, Any], toy: Any) -> Any:
    shutil.copytree(trained["toy"].base / "models", toy.base / "models")
    return toy


def test_scores_are_told_logged_and_kept(own: Any) -> None:
    events: list[Event] = []
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    scores = evaluate_chat("toy:sft", SMALL, own.context, events.append).tasks
    assert [(score.name, score.n, score.chance) for score in scores] == [("facts", 6, 1 / 6), ("choice", 6, 0.25)]
    told = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.name, event.stage, event.step, event.n) for event in told] == [
        ("facts", "sft", 6, 6),
        ("choice", "sft", 6, 6),
    ]
    assert all(event.low <= event.value <= event.high for event in told)
    assert any(isinstance(event, StageProgress) for event in events)
    logged = read_events(own.folder("sft") / "events.jsonl")[before:]
    assert [record["event"] for record in logged] == ["Evaluated", "Evaluated"]
    kept = json.loads((own.folder("sft") / "eval" / "pocket.json").read_text())
    assert kept["step"] == 6
    assert plain(kept["tasks"]) == {score.name: score.to_dict() for score in scores}
    assert len(kept["tasks"]["facts"]["items"]) == 6


def plain(tasks: dict[str, Any]) -> dict[str, Any]:
    """Without what a score does not know of itself."""
    known = {"problems_sha256", "elapsed_s"}
    assert all(known <= set(task) for task in tasks.values())
    return {name: {key: value for key, value in task.items() if key not in known} for name, task in tasks.items()}


def test_scores_of_other_tasks_are_kept(own: Any) -> None:
    evaluate_chat("toy:mid", SMALL, own.context, lambda event: None)
    more = dataclasses.replace(SMALL, tasks="identity")
    evaluate_chat("toy:mid", more, own.context, lambda event: None)
    assert is_evaluated(own.context, "toy", "mid", 6, ["facts", "choice", "identity"], SMALL)
    assert not is_evaluated(own.context, "toy", "mid", 6, ["facts", "spelling"], SMALL)
    assert not is_evaluated(own.context, "toy", "mid", 4, ["facts"], SMALL)
    assert not is_evaluated(own.context, "toy", "sft", 6, ["facts"], SMALL)
    for changes in ({"max_problems": 7}, {"max_new_tokens": 5}):
        assert not is_evaluated(own.context, "toy", "mid", 6, ["facts"], dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("changes", [{"max_problems": 5}, {"max_new_tokens": 3}])
def test_scores_that_were_asked_otherwise_are_not_kept(own: Any, changes: dict[str, int]) -> None:
    evaluate_chat("toy:mid", SMALL, own.context, lambda event: None)
    evaluate_chat("toy:mid", dataclasses.replace(SMALL, tasks="identity", **changes), own.context, lambda event: None)
    kept = json.loads((own.folder("mid") / "eval" / "pocket.json").read_text())
    assert set(kept["tasks"]) == {"identity"}


def test_scores_of_another_seed_are_not_kept(own: Any) -> None:
    sampled = dataclasses.replace(SMALL, temperature=1.0)
    evaluate_chat("toy:mid", sampled, own.context, lambda event: None)
    evaluate_chat("toy:mid", dataclasses.replace(sampled, tasks="identity", seed=1), own.context, lambda event: None)
    kept = json.loads((own.folder("mid") / "eval" / "pocket-t1.json").read_text())
    assert (kept["seed"], set(kept["tasks"])) == (1, {"identity"})


def test_the_validation_split_is_scored_apart(own: Any) -> None:
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    evaluate_chat("toy:sft", dataclasses.replace(SMALL, split="val"), own.context, lambda event: None)
    folder = own.folder("sft")
    assert len(read_events(folder / "events.jsonl")) == before
    assert json.loads((folder / "eval" / "pocket-val.json").read_text())["tasks"].keys() == {"facts", "choice"}
    assert not is_evaluated(own.context, "toy", "sft", 6, ["facts"], SMALL)


def test_a_file_is_a_task(own: Any, tmp_path: Path) -> None:
    path = tmp_path / "my_tests.jsonl"
    path.write_text('["Capital of France?", "Paris"]\n["Capital of Italy?", "Rome"]\n')
    choices = tmp_path / "choices.jsonl"
    choices.write_text('{"question": "1+1?", "choices": ["2", "3"], "answer": 0}\n' * 7)
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    config = dataclasses.replace(SMALL, tasks=f"facts,{path},{choices}")
    events: list[Event] = []
    scores = evaluate_chat("toy:sft", config, own.context, events.append).tasks
    assert [(score.name, score.n, score.chance) for score in scores] == [
        ("facts", 6, 1 / 6),
        ("my_tests.jsonl", 2, 0.0),
        ("choices.jsonl", 6, 0.5),
    ]
    assert scores[1].correct == 0
    assert scores[2].correct in (0, 6)
    assert [event.message for event in events if isinstance(event, Notice)] == [
        "choices.jsonl: the first 6 of 7 are asked (--max-problems)"
    ]
    folder = own.folder("sft") / "eval"
    assert json.loads((folder / "pocket.json").read_text())["tasks"].keys() == {"facts"}
    kept = json.loads((folder / "files.json").read_text())
    assert plain(kept["tasks"]) == {score.name: score.to_dict() for score in scores[1:]}
    assert len(read_events(own.folder("sft") / "events.jsonl")) == before + 1


@pytest.mark.parametrize("batch_size", [1, 4, 40])
def test_right_answers_count_in_any_batch(own: Any, batch_size: int) -> None:
    """What the model says itself is right, whatever it is: to every other question the file has that."""
    path = own.questions([number % 2 == 1 for number in range(40)], SMALL.max_new_tokens)
    config = dataclasses.replace(SMALL, tasks=str(path), max_problems=40, batch_size=batch_size)
    (score,) = evaluate_chat("asked:mid", config, own.context, lambda event: None).tasks
    assert score.correct == 20


def test_files_among_tasks(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text('["q", "a"]\n')
    assert list(choose_tasks(f"all,{path}", 2))[-1] == "facts.jsonl"
    with pytest.raises(UsageError, match="two tasks would have the name"):
        choose_tasks(f"{path},{tmp_path}/./facts.jsonl", 2)
    with pytest.raises(MissingError, match="there is no file none"):
        choose_tasks("none.jsonl", 2)


def test_tasks_by_name() -> None:
    assert list(choose_tasks("choice, facts", 2)) == ["choice", "facts"]
    assert "arithmetic" in choose_tasks("all", 2)
    for wrong in ("facts,fcats", "", ","):
        with pytest.raises(UsageError, match="no task") as caught:
            choose_tasks(wrong, 2)
        assert "facts" in caught.value.hint


def test_no_such_model(own: Any) -> None:
    with pytest.raises(MissingError):
        evaluate_chat("other", SMALL, own.context, lambda event: None)


def test_eight_bits_cost_less_than_half_a_percent(own: Any) -> None:
    """Bits per token of a trained model, over text it has seen: with int8 weights as with float32."""
    means = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        engine, _ = load_engine(own.context.paths, "toy:sft", "cpu", dtype)
        ids = [engine.tokenizer.bos, *engine.tokenizer.encode("The capital of Japan is Tokyo. " * 4)]
        logits = engine.next_logits([ids[:end] for end in range(1, len(ids))])
        losses = -logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
        means[dtype] = losses.mean().item()
    assert means[torch.int8] == pytest.approx(means[torch.float32], rel=0.005)
    assert means[torch.bfloat16] == pytest.approx(means[torch.float32], rel=0.005)


def test_tasks_of_the_hub(own: Any, test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ChatCORE's five on real rows, scores by subject, and the file that keeps them; read from a folder by name."""
    config = dataclasses.replace(
        SMALL, tasks="arc_easy,arc_challenge,mmlu,gsm8k", task_data=str(test_data / "data" / "task_data")
    )
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    events: list[Event] = []
    found = evaluate_chat("toy:sft", config, own.context, events.append)
    scores = found.tasks
    assert [(score.name, score.n, score.chance) for score in scores[2:]] == [("mmlu", 6, 0.25), ("gsm8k", 6, 0.0)]
    assert sum(count for _, count in scores[2].groups.values()) == 6
    assert found.core is None  # a task of it is missing
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert "mmlu: the first 6 of 570 are asked (--max-problems)" in notices
    kept = json.loads((own.folder("sft") / "eval" / "chat.json").read_text())
    assert plain(kept["tasks"]) == {score.name: score.to_dict() for score in scores}
    assert "chatcore" not in kept
    assert len(read_events(own.folder("sft") / "events.jsonl")) == before + 4
    # the last one asked by itself: the file holds them all then
    kept["tasks"]["humaneval"] = {"accuracy": 0.5, "low": 0.2, "high": 0.8, "chance": 0.0, "n": 4}
    (own.folder("sft") / "eval" / "chat.json").write_text(json.dumps(kept))
    found = evaluate_chat("toy:sft", dataclasses.replace(config, tasks="ARC-Easy"), own.context, events.append)
    core = json.loads((own.folder("sft") / "eval" / "chat.json").read_text())["chatcore"]
    centred = [(score.accuracy - score.chance) / (1 - score.chance) for score in scores]
    assert core["value"] == pytest.approx((sum(centred) + 0.5) / 5)
    assert core["low"] < core["value"] < core["high"]
    assert found.core is not None
    assert {**found.core.to_dict()} == core
    logged = read_events(own.folder("sft") / "events.jsonl")[-1]
    assert (logged["name"], logged["value"], logged["n"]) == ("ChatCORE", core["value"], 4 * 6 + 4)
    # none where nothing of it was asked, or the rest was asked otherwise
    assert evaluate_chat("toy:sft", dataclasses.replace(config, tasks="facts"), own.context, events.append).core is None
    fewer = dataclasses.replace(config, tasks="ARC-Easy", max_problems=3)
    assert evaluate_chat("toy:sft", fewer, own.context, events.append).core is None


def test_what_a_recipe_is_chosen_on(test_data: Path, tmp_path: Path) -> None:
    """The validation split; of gsm8k, that has none, the end of the training split, of humaneval the test's."""
    row = {
        "prompt": "def f(x):\n",
        "canonical_solution": "    return x\n",
        "test": "def check(f):\n    assert f(1) == 1",
    }
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text(json.dumps({**row, "entry_point": "f"}) + "\n")
    places = Places(downloads=test_data / "data" / "task_data", scratch=tmp_path / "scratch", given=tmp_path)
    tasks = choose_tasks("gsm8k,humaneval,facts", 5, "val", places=places)
    assert {name: len(task) for name, task in tasks.items()} == {"gsm8k": 400, "humaneval": 1, "facts": 5}
    train = open_task("gsm8k", "train", places=places)
    assert list(tasks["gsm8k"]) == [train[at] for at in range(7473 - 400, 7473)]
    with pytest.raises(MissingError, match="validation split of arc_easy"):
        choose_tasks("arc_easy", 5, "val", places=places)


def test_data_that_is_missing(own: Any) -> None:
    with pytest.raises(MissingError, match="humaneval") as caught:
        evaluate_chat("toy:sft", dataclasses.replace(SMALL, tasks="facts,humaneval"), own.context, lambda event: None)
    assert caught.value.hint.startswith("nanochat data tasks humaneval")


def test_a_base_model_is_asked_behind_examples(own: Any) -> None:
    config = dataclasses.replace(SMALL, shots=2)
    before = len(read_events(own.folder("base") / "events.jsonl"))
    scores = evaluate_chat("toy:base", config, own.context, lambda event: None).tasks
    assert [score.n for score in scores] == [6, 6]
    kept = json.loads((own.folder("base") / "eval" / "pocket-2shot.json").read_text())
    assert (kept["shots"], set(kept["tasks"])) == (2, {"facts", "choice"})
    assert not (own.folder("base") / "eval" / "pocket.json").exists()
    assert len(read_events(own.folder("base") / "events.jsonl")) == before
    assert (
        evaluate_chat("toy:base", dataclasses.replace(config, batch_size=1), own.context, lambda _: None).tasks
        == scores
    )


def test_several_answers_are_kept_apart(own: Any) -> None:
    config = dataclasses.replace(SMALL, num_samples=3, seed=7)
    scores = evaluate_chat("toy:sft", config, own.context, lambda event: None).tasks
    assert [score.samples for score in scores] == [3, 1]
    kept = json.loads((own.folder("sft") / "eval" / "pocket-3x.json").read_text())
    assert (kept["temperature"], kept["seed"]) == (1.0, 7)
    assert set(kept["tasks"]["facts"]["pass_at"]) == {"1", "2", "3"}


def test_a_task_in_python(own: Any, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    path = tmp_path / "capitals.py"
    path.write_text(page.partition("```python\n")[2].partition("```")[0])
    (score,) = evaluate_chat(
        "toy:sft", dataclasses.replace(SMALL, tasks=str(path)), own.context, lambda event: None
    ).tasks
    assert (score.name, score.n, score.chance) == ("capitals.py", 3, 1 / 3)
    assert set(json.loads((own.folder("sft") / "eval" / "files.json").read_text())["tasks"]) == {"capitals.py"}


def test_settings_that_cannot_work() -> None:
    for wrong in ({"num_samples": 0}, {"shots": -1}, {"temperature": -0.5}, {"num_samples": 2, "temperature": 0.0}):
        with pytest.raises(UsageError):
            ChatEvalConfig(**wrong)  # type: ignore[arg-type]
    assert ChatEvalConfig().sampling_temperature == 0
    assert ChatEvalConfig(num_samples=4).sampling_temperature == 1
    assert ChatEvalConfig(shots=5, num_samples=4, temperature=0.5).variant == "-5shot-4x-t0.5"


def test_a_tokenizer_of_another_model_is_refused(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids would be read as other words without anyone noticing."""
    whole = loading.load_for_inference

    def other(*args: Any) -> Any:
        checkpoint = whole(*args)
        config = dataclasses.replace(checkpoint.model_config, vocab_size=600)
        return dataclasses.replace(checkpoint, model_config=config)

    monkeypatch.setattr(loading, "load_for_inference", other)
    with pytest.raises(DamagedError, match=r"step_000006: its tokenizer has 512 tokens, its model 600"):
        evaluate_chat("toy:sft", SMALL, own.context, lambda event: None)


def test_an_end_half_way_loses_no_score(own: Any, tmp_path: Path) -> None:
    """Ctrl-C, or a sandbox that fails: what was scored stays, and the notice is what to type for the rest."""
    path = tmp_path / "mine.jsonl"
    path.write_text('["Capital of France?", "Paris"]\n')
    events: list[Event] = []

    def interrupt(event: Event) -> None:
        events.append(event)
        if isinstance(event, StageProgress) and " choice " in event.detail:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_chat("toy:sft", dataclasses.replace(SMALL, tasks=f"facts,choice,{path}"), own.context, interrupt)
    folder = own.folder("sft") / "eval"
    assert json.loads((folder / "pocket.json").read_text())["tasks"].keys() == {"facts"}
    assert events[-1] == Notice(
        stage="eval", level="info", message=f"the scores of facts are kept; --tasks choice,{path} asks what is left"
    )
    evaluate_chat("toy:sft", dataclasses.replace(SMALL, tasks=f"choice,{path}"), own.context, events.append)
    assert json.loads((folder / "pocket.json").read_text())["tasks"].keys() == {"facts", "choice"}
    assert json.loads((folder / "files.json").read_text())["tasks"].keys() == {"mine.jsonl"}


def test_scores_asked_otherwise_give_way_when_the_last_new_one_is_there(own: Any) -> None:
    """An end before that loses neither the old ones nor the new."""
    folder = own.folder("sft") / "eval"
    evaluate_chat("toy:sft", dataclasses.replace(SMALL, tasks="identity,facts,choice"), own.context, lambda _: None)
    before = json.loads((folder / "pocket.json").read_text())

    def interrupt(event: Event) -> None:
        if isinstance(event, StageProgress) and " choice " in event.detail:
            raise KeyboardInterrupt

    fewer = dataclasses.replace(SMALL, max_problems=5)
    with pytest.raises(KeyboardInterrupt):
        evaluate_chat("toy:sft", fewer, own.context, interrupt)
    assert json.loads((folder / "pocket.json").read_text()) == before
    assert read_evals(own.folder("sft")).keys() == {"pocket"}
    evaluate_chat("toy:sft", dataclasses.replace(fewer, tasks="choice"), own.context, lambda _: None)
    after = json.loads((folder / "pocket.json").read_text())
    assert {name: task["n"] for name, task in after["tasks"].items()} == {"facts": 5, "choice": 5}
    assert [path.name for path in folder.iterdir()] == ["pocket.json"]


def damage_newest(stage_dir: Path) -> None:
    """A newer checkpoint whose weights are not what was saved."""
    shutil.copytree(stage_dir / "step_000006", stage_dir / "step_000007")
    (stage_dir / "step_000007" / "model.safetensors").write_bytes(b"short")


def test_a_damaged_checkpoint_is_told(own: Any) -> None:
    damage_newest(own.folder("sft"))
    for ask in (
        lambda tell: evaluate_chat("toy:sft", dataclasses.replace(SMALL, tasks="choice"), own.context, tell),
        lambda tell: evaluate_base(
            "toy:sft", BaseEvalConfig(only="samples", device="cpu"), own.context, Hub(offline=True), tell
        ),
    ):
        events: list[Event] = []
        ask(events.append)
        told = [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]
        assert "step_000007" in told[0]
        assert told[1:] == ["using toy:sft@6 instead"]


def test_two_models_are_compared_problem_by_problem(own: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('["Capital of France?", "Paris"]\n')
    config = dataclasses.replace(SMALL, tasks=f"facts,choice,identity,{path}", max_problems=30)
    scores = {}
    for model in ("toy:mid", "toy:sft"):
        scores[model] = evaluate_chat(model, config, own.context, lambda event: None).tasks
        path.write_text('["Capital of Italy?", "Rome"]\n')  # the second is asked something else
    evaluate_chat("toy:sft", dataclasses.replace(config, tasks="facts", shots=1), own.context, lambda event: None)
    found = compare_models(own.context.paths, "toy:mid", "toy:sft")
    assert found.core is None
    assert [score.name for score in found.scores] == ["facts", "choice", "identity"]
    assert found.others == ("facts (1shot)", "mine.jsonl")
    for score, first, second in zip(found.scores, scores["toy:mid"], scores["toy:sft"], strict=False):
        assert (score.first, score.second, score.paired.n) == (first.accuracy, second.accuracy, first.n)
        assert score.paired.gained == sum(a < b for a, b in zip(first.right, second.right, strict=True))
        assert score.paired.lost == sum(a > b for a, b in zip(first.right, second.right, strict=True))
    lines = list(as_lines(found))
    assert lines[0] == "toy:mid@6 -> toy:sft@6"
    assert lines[-1].endswith("asked otherwise or of one only: facts (1shot), mine.jsonl")
    assert as_values(found)["tasks"]["choice"]["n"] == 30
    evaluate_chat("toy:sft", dataclasses.replace(config, max_problems=7), own.context, lambda event: None)
    with pytest.raises(UsageError, match="not asked the same problems"):
        compare_models(own.context.paths, "toy:mid", "toy:sft")
    with pytest.raises(MissingError, match="toy:base has not been measured"):
        compare_models(own.context.paths, "toy:base", "toy:sft")


def test_two_steps_of_a_stage_are_compared(own: Any) -> None:
    for step in (6, 4):
        evaluate_chat(f"toy:sft@{step}", SMALL, own.context, lambda event: None)
    found = compare_models(own.context.paths, "toy:sft@4", "toy:sft")
    assert (found.first.name, found.second.name) == ("toy:sft@4", "toy:sft@6")
    assert [score.name for score in found.scores] == ["facts", "choice"]
    assert json.loads((own.folder("sft") / "eval" / "pocket.json").read_text())["step"] == 6
    report = to_markdown(collect(own.base / "models" / "toy"))
    assert "| task | chance | base | mid | sft, step 6 |" in report
    assert "| stage | step | how | facts | choice |" in report
    assert "| sft | 4 | - | " in report
