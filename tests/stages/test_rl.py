"""Reinforcement learning: what it practises, that it is exact, and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import paid
import pytest
import torch
from fleet import run_fleet, train

from nanochat.checkpoints.layout import is_finished, read_best, read_json, step_dirs
from nanochat.checkpoints.store import Checkpoint, latest_valid, load_checkpoint
from nanochat.config.rl import RlConfig
from nanochat.errors import DivergedError, Interrupted, MissingError, UsageError
from nanochat.runtime.events import (
    Evaluated,
    Event,
    Notice,
    RolloutsDone,
    StageStarted,
    StepDone,
)
from nanochat.runtime.paths import Paths
from nanochat.stages import rl as rl_module
from nanochat.stages.practice import open_practice


def newest(folder: Path) -> Checkpoint:
    path = latest_valid(folder)
    assert path is not None
    return load_checkpoint(path, with_optimizer=True)


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def rewards(events: list[Event]) -> dict[int, float]:
    return {event.step: event.reward for event in of(RolloutsDone, events)}


def losses(events: list[Event]) -> dict[int, float]:
    return {event.step: event.loss for event in of(StepDone, events)}


def check_same(one: Path, other: Path) -> None:
    """Weights, momenta, the place in the data and what is counted are equal to the last bit."""
    a, b = newest(one), newest(other)
    assert a.step == b.step
    for name in ("loader", "total_batch_size", "rates"):
        assert a.state[name] == b.state[name]
    untimed = [{k: v for k, v in c.state["train"].items() if k != "elapsed_s"} for c in (a, b)]
    assert untimed[0] == untimed[1]
    for left, right in ((a.model_state, b.model_state), (a.optimizer_state or {}, b.optimizer_state or {})):
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_what_is_told_and_kept(trained: dict[str, Any]) -> None:
    result, events = trained["rl"]
    folder = trained["toy"].folder("rl")
    assert list(rewards(events)) == list(losses(events)) == [1, 2, 3, 4, 5, 6]
    assert all(0 < event.answer_tokens <= 10 for event in of(RolloutsDone, events))
    assert any(event.telling for event in of(RolloutsDone, events))
    told = {(event.step, event.name): event for event in of(Evaluated, events)}
    assert list(told) == [
        (step, name) for step in (0, 3, 6) for name in ("val/spelling pass@1", "val/spelling pass@2", "val_error")
    ]
    for (step, name), event in told.items():
        if name != "val_error":
            assert event.n == 5
            assert 0 <= event.low <= event.value <= event.high <= 1
        else:
            assert event.value == 1 - told[step, "val/spelling pass@1"].value
    assert [path.name for path in step_dirs(folder)] == ["step_000006", "step_000004"]
    assert is_finished(folder)
    assert read_best(folder) == 6
    assert (read_json(folder / "best.json") or {}).keys() == {"step", "val_error"}
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 4
    assert result.summary["first_reward"] == rewards(events)[1]
    assert result.summary["left_out"] == 0
    assert {"step", "reward", "val_error", "best_step", "tokens"} <= result.summary.keys()
    record = json.loads((folder / "config.json").read_text())
    assert record["data"]["start"] == "toy:sft@6"
    assert record["data"]["mixture"] == {"spelling": 40}
    tokens = of(StepDone, events)[-1].tokens
    assert tokens == round(sum(15 * event.answer_tokens for event in of(RolloutsDone, events)))


def test_those_that_follow_take_over_what_sft_had(trained: dict[str, Any]) -> None:
    """A step of rl counts examples, and its rates are no others' business."""
    before, after = (newest(trained["toy"].folder(stage)).state for stage in ("sft", "rl"))
    assert before["total_batch_size"] == after["total_batch_size"] == 8 * 128
    assert before["rates"] == after["rates"]
    assert after["rates"]["matrix_lr"] == 0.02


def test_rewards_rise(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("rl")
    config = {"num_steps": 30, "lr_scale": 2.0, "samples": 8, "eval_every": 0, "save_every": 0}
    result, events = toy.train("rl", **config)
    found = list(rewards(events).values())
    assert sum(found[-5:]) > 1.5 * sum(found[:5])
    assert result.summary["reward"] > result.summary["first_reward"]


def test_adapters_are_trained_and_merged(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("rl")
    config = {"num_steps": 30, "samples": 8, "eval_every": 0, "save_every": 0, "warmdown": 0.0}
    result, events = toy.train("rl", **config, lora_rank=8, lora_lr=0.02)
    found = list(rewards(events).values())
    assert sum(found[-5:]) > 1.5 * sum(found[:5])  # rollouts are of the adapted model, else nothing would rise
    before, after = newest(toy.folder("sft")).model_state, newest(result.folder).model_state
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".c_" in name for name in changed)


def test_any_rows_at_a_time_give_the_same_update(trained: dict[str, Any], toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("rl")
    toy.train("rl", num_steps=1, eval_every=0, device_batch_size=1, warmdown=0.0)
    other = {"tag": "other", "source": "toy:sft", "num_steps": 1, "eval_every": 0, "warmdown": 0.0}
    result, _ = toy.train("rl", device_batch_size=15, **other)
    # of the first step, whose size hides what the gradients are, the momenta tell
    one, another = (newest(folder).optimizer_state or {} for folder in (toy.folder("rl"), result.folder))
    assert one.keys() == another.keys()
    for name, momentum in one.items():
        if name.endswith((".momentum", ".exp_avg")):
            torch.testing.assert_close(momentum, another[name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [{}, {"updates": 2, "clip": 0.2, "kl": 0.1}, {"lora_rank": 4, "kl": 0.1}],
    ids=["plain", "clip and kl", "adapters"],
)
def test_stopped_and_resumed_is_as_never_stopped(
    trained: dict[str, Any], toy_before: Callable[[str], Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    toy = toy_before("rl")
    whole = trained["toy"].folder("rl")
    if changes:
        twin = tmp_path / "twin"
        shutil.copytree(toy.base, twin)
        twin_toy = type(toy)(twin)
        twin_toy.train("rl", **changes)
        whole = twin_toy.folder("rl")

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="step 4 of 6 of the rl stage"):
        toy.train("rl", stop, **changes)
    _, events = toy.train("rl", unsafe_exec=True, **changes)  # a setting that may change
    assert [event.resumed_from for event in of(StageStarted, events)] == [4]
    assert list(rewards(events)) == [5, 6]
    check_same(toy.folder("rl"), whole)


def test_a_stop_in_an_evaluation_is_made_up_for(trained: dict[str, Any], toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("rl")

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        toy.train("rl", stop)
    _, events = toy.train("rl")
    assert [event.step for event in of(Evaluated, events) if event.name == "val_error"] == [3, 6]


@pytest.mark.parametrize("world_size", [2])
def test_two_processes_do_what_one_does(
    trained: dict[str, Any], toy_before: Callable[[str], Any], world_size: int
) -> None:
    """Three examples a step: one process answers two of them, the other one."""
    toy = toy_before("rl")
    first, second = run_fleet(world_size, train, "rl", toy.base, {})
    assert second == []
    alone = trained["rl"][1]
    assert rewards(first) == pytest.approx(rewards(alone), abs=1e-9)
    assert losses(first) == pytest.approx(losses(alone), abs=1e-5)
    values = [[(e.step, e.name, e.value) for e in of(Evaluated, events)] for events in (first, alone)]
    assert values[0] == values[1]
    one, other = newest(toy.folder("rl")), newest(trained["toy"].folder("rl"))
    assert one.state["loader"] == pytest.approx(other.state["loader"])
    for name, weight in one.model_state.items():
        if name.startswith("transformer.h."):  # Adam takes a whole step also where a gradient is nothing but rounding
            torch.testing.assert_close(weight, other.model_state[name], rtol=0, atol=1e-3)


def test_another_seed_gives_other_answers(toy_before: Callable[[str], Any], trained: dict[str, Any]) -> None:
    toy = toy_before("rl")
    _, events = toy.train("rl", seed=43, num_steps=2, eval_every=0)
    assert list(rewards(events).values()) != list(rewards(trained["rl"][1]).values())[:2]


def test_prompts_that_fill_the_context_are_left_out_and_told(toy_before: Callable[[str], Any], tmp_path: Path) -> None:
    """The context of the toy is 128 tokens."""
    toy = toy_before("rl")
    lines = []
    for number in range(40):
        question = "Say it again. " * (60 if number % 4 == 0 else 1)
        messages = [{"role": "user", "content": f"{number} {question}"}, {"role": "assistant", "content": "yes"}]
        lines.append(json.dumps({"messages": messages}))
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines))
    result, events = toy.train("rl", task=str(path), num_steps=0, eval_every=0)
    assert [event.message for event in of(Notice, events) if event.level == "warning"] == [
        "prompts that fill the context of 128 tokens are left out"
    ]
    assert result.summary["step"] == 38 // 3
    assert result.summary["left_out"] == pytest.approx(38 / 4, abs=3)
    named = {event.name for event in of(Evaluated, events)}
    assert named == {"val/mine.jsonl pass@1", "val/mine.jsonl pass@2", "val_error"}
    path.write_text("\n".join(lines[::4]))
    with pytest.raises(UsageError, match="every prompt fills the context of 128 tokens"):
        toy.train("rl", task=str(path), tag="long", source="toy:sft", num_steps=1)


@pytest.mark.parametrize("changes", [{}, {"updates": 2}], ids=["one update", "two"])
def test_where_all_answers_are_paid_alike_nothing_moves(
    toy_before: Callable[[str], Any], changes: dict[str, Any]
) -> None:
    toy = toy_before("rl")
    result, events = toy.train("rl", reward="exact", num_steps=2, eval_every=0, **changes)  # a toy spells nothing
    assert [event.telling for event in of(RolloutsDone, events)] == [0, 0]
    start = newest(toy.folder("sft"))
    for name, weight in newest(result.folder).model_state.items():
        assert torch.equal(weight, start.model_state[name])


def test_the_penalty_takes_part_in_the_update(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("rl")
    start = newest(toy.folder("sft")).model_state
    shares = []
    for tag, kl in (("free", 0.0), ("held", 1000.0)):
        result, _ = toy.train("rl", tag=tag, source="toy:sft", kl=kl, eval_every=0, num_steps=6, warmdown=0.0)
        after = newest(result.folder).model_state
        shares.append(sum(float((after[name] - weight).abs().sum()) for name, weight in start.items()))
    assert shares[1] != shares[0]  # what it is worth is proved by the formula: steps of Muon are as long with it


def test_tasks_are_mixed_and_their_problems_held_out(tmp_path: Path) -> None:
    config = RlConfig(task="problems, spelling", conversations=50, eval_problems=7)
    practice = open_practice(config, Paths(base=tmp_path, cache=tmp_path / "cache"))
    assert practice.train.counts == {"problems": 50, "spelling": 50}
    assert {name: len(task) for name, task in practice.held_out.items()} == {"problems": 7, "spelling": 7}
    asked = {task[i].messages[0] for task in practice.held_out.values() for i in range(7)}
    assert not asked & {conversation.messages[0] for conversation in practice.train}


def test_a_task_of_the_hub_is_practised_by_name(test_data: Path, tmp_path: Path) -> None:
    config = RlConfig(task="GSM8K", eval_problems=40, task_data=str(test_data / "data"))
    practice = open_practice(config, Paths(base=tmp_path, cache=tmp_path / "cache"))
    (held_out,) = practice.held_out.values()
    assert held_out.name == "gsm8k" and len(held_out) == 400  # however many of them are asked
    assert practice.train.counts == {"gsm8k": 7473 - 400}
    asked = {conversation.messages[0] for conversation in held_out}
    assert not asked & {conversation.messages[0] for conversation in practice.train}
    right = practice.train[0]
    answer = right.messages[-1].parts[-1].text
    assert practice.train.task_of(0).reward(right, answer) == 1.0
    assert practice.train.task_of(0).reward(right, "#### no idea") == 0.0


def test_a_file_is_graded_as_it_says(tmp_path: Path) -> None:
    """Numbers, letters and programs, of what is practised and of what is held out."""
    files = {
        "sums.jsonl": [{"question": f"{n} plus 1?", "answer": n + 1} for n in range(40)],
        "picks.jsonl": [{"question": f"{n}?", "choices": ["a", f"{n}"], "answer": "B"} for n in range(40)],
        "code.jsonl": [
            {"prompt": f"f{n} doubles", "check": f"assert f{n}(2) == 4", "response": f"def f{n}(x):\n    return 2 * x"}
            for n in range(40)
        ],
    }
    right = {
        "sums.jsonl": lambda text: f"That is #### {int(text.split()[0]) + 1}.0",
        "picks.jsonl": lambda text: "B",
        "code.jsonl": lambda text: f"```python\ndef {text.split()[0]}(x):\n    return x + x\n```",
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, lines)))
    config = RlConfig(task=",".join(str(tmp_path / name) for name in files), unsafe_exec=True)
    practice = open_practice(config, Paths(base=tmp_path, cache=tmp_path / "cache"))
    assert practice.train.counts == dict.fromkeys(files, 38)
    assert {name: (task.kind, len(task)) for name, task in practice.held_out.items()} == {
        "sums.jsonl": ("generative", 2),
        "picks.jsonl": ("categorical", 2),
        "code.jsonl": ("generative", 2),
    }
    asked = {practice.train.task_of(at).name: (practice.train.task_of(at), practice.train[at]) for at in range(60)}
    for name, task in practice.held_out.items():
        for graded, conversation in (asked[name], (task, task[0])):
            assert graded.reward(conversation, right[name](conversation.messages[0].content)) == 1.0
            assert graded.reward(conversation, "no idea") == 0.0


def test_what_has_no_answers_to_grade_is_not_practised(tmp_path: Path) -> None:
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    asking = tmp_path / "asking.jsonl"
    turns = [{"role": role, "content": "Hm?"} for role in ("user", "assistant", "user")]
    asking.write_text(
        "".join(json.dumps({"messages": [*turns[:2], {**turns[2], "content": str(n)}]}) + "\n" for n in range(20))
    )
    with pytest.raises(UsageError, match="ends with a question"):
        open_practice(RlConfig(task=str(asking)), paths)
    for name in ("smoltalk", "dialogue", "lookup", "drill", "binding"):
        with pytest.raises(UsageError, match=f"{name} cannot be practised"):
            open_practice(RlConfig(task=name), paths)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.jsonl").write_text("".join(f'["{n}?", "{n}"]\n' for n in range(20)))
    with pytest.raises(UsageError, match=r"two tasks would have the name same\.jsonl"):
        open_practice(RlConfig(task=f"{tmp_path}/a/same.jsonl,{tmp_path}/b/same.jsonl"), paths)


@pytest.mark.parametrize(("changes", "flag"), [({}, "--lr-scale"), ({"lora_rank": 4}, "--lora-lr")])
def test_a_loss_that_is_no_number_names_an_option_that_there_is(
    toy_before: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], flag: str
) -> None:
    monkeypatch.setattr(rl_module, "policy_loss", lambda model, **options: lambda *batch: model(*batch[:2]) * torch.nan)
    with pytest.raises(DivergedError) as caught:
        toy_before("rl").train("rl", eval_every=0, save_every=0, eval_problems=1, **changes)
    assert f"lower the learning rates ({flag})" in caught.value.hint


def test_what_is_missing_or_wrong_is_said(toy_before: Callable[[str], Any], tmp_path: Path) -> None:
    toy = toy_before("rl")
    own = Path(paid.__file__)
    with pytest.raises(UsageError, match="no task 'chess'"):
        toy.train("rl", task="chess")
    with pytest.raises(MissingError, match=r"there is no file .*gone\.py"):
        toy.train("rl", reward=str(tmp_path / "gone.py"))
    with pytest.raises(MissingError, match=r"there is no file .*gone\.jsonl"):
        toy.train("rl", task=str(tmp_path / "gone.jsonl"))
    with pytest.raises(UsageError, match=r"paid\.py has no function nothing"):
        toy.train("rl", reward=f"{own}:nothing")
    with pytest.raises(UsageError, match=r"wrong of .*paid\.py failed on the answer .*: ValueError: no idea"):
        toy.train("rl", reward=f"{own}:wrong")
    with pytest.raises(UsageError, match=r"endless of .*paid\.py paid inf"):
        toy.train("rl", reward=f"{own}:endless", tag="endless", source="toy:sft")
    broken = tmp_path / "broken.py"
    broken.write_text("def reward(:\n")
    with pytest.raises(UsageError, match=r"broken\.py cannot be run: SyntaxError"):
        toy.train("rl", reward=str(broken), tag="broken", source="toy:sft")
    few = tmp_path / "few.jsonl"
    few.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    with pytest.raises(UsageError, match="too few to hold some out"):
        toy.train("rl", task=str(few), tag="few", source="toy:sft")
    with pytest.raises(MissingError, match="sft"):
        toy.train("rl", tag="other")


def test_a_reward_that_changed_is_not_gone_on_with(toy_before: Callable[[str], Any], tmp_path: Path) -> None:
    toy = toy_before("rl")
    path = tmp_path / "mine.py"
    path.write_text("def reward(conversation, answer):\n    return len(answer) / 50\n")
    toy.train("rl", reward=str(path), num_steps=2, eval_every=0)
    path.write_text("def reward(conversation, answer):\n    return len(answer) / 60\n")
    with pytest.raises(UsageError, match=r"mine\.py has changed since toy:rl was begun"):
        toy.train("rl", reward=str(path), num_steps=2, eval_every=0)
    assert replace(toy.config("rl"), reward="exact").reward == "exact"
