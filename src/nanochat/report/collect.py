"""From the files of a model to a frozen `RunReport`.

Reads `{stage}/config.json`, `events.jsonl`, `eval/*.json`, `samples.jsonl` and `finished.json` of each stage,
and `speedrun.json` of the model. Any of them may be absent, cut short or hold something unexpected; what
cannot be read counts as not there. Not covered: weights, which are never opened.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanochat.config.evaluate import PLAIN
from nanochat.config.stages import STAGES
from nanochat.runtime.events import VALIDATION, is_during_training, read_events
from nanochat.runtime.files import translate_os_errors

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """Accuracy on one task, from 0 to 1, with its 95% interval and what guessing would give."""

    accuracy: float
    n: int | None
    low: float | None
    high: float | None
    chance: float | None

    @property
    def centred(self) -> float:
        """0 is guessing, 1 is perfect."""
        chance = self.chance or 0.0
        return (self.accuracy - chance) / (1 - chance) if chance < 1 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Scores of one file: tasks that were asked alike. `how` is "" for the test problems as they stand."""

    how: str
    step: int | None
    tasks: Mapping[str, TaskScore]


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsPerByte:
    """What `nanochat eval base` has measured on a text, by split: value, lower and upper end where they are known."""

    step: int | None
    text: str
    splits: Mapping[str, tuple[float, float | None, float | None]]


_PASS = " pass@"
_FEW_SHOT = re.compile(r"\d+shot")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What the model said to a prompt, at a step where that is known."""

    prompt: str
    answer: str
    step: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A figure that was told during training: a score of a task, its name without `val/`, or another number."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CorePoint:
    """CORE at a step, and the number of items it was measured on where that is known."""

    step: int
    value: float
    n: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageReport:
    """One stage. None stands for what the files do not tell."""

    name: str
    finished: bool
    step: int | None
    total_steps: int | None
    tokens: int | None
    train_s: float | None
    eval_s: float | None
    tokens_per_s: float | None  # median over the steps
    mfu: float | None  # as well
    peak_memory_bytes: int | None
    losses: tuple[float, ...]  # training loss, one a step
    val_bpb: tuple[float, ...]  # in the order of evaluation
    rewards: tuple[float, ...]  # of reinforcement learning, one a step
    passed: Mapping[str, tuple[float, ...]]  # pass@k of its tasks, in the order of evaluation
    tasks: Mapping[str, TaskScore]  # of the test problems, at the latest step that was scored
    asked: Asked | None  # how and when they were
    others: tuple[Asked, ...]  # of other steps, splits, and ways of asking
    bits_per_byte: tuple[BitsPerByte, ...]
    core: tuple[CorePoint, ...]  # by step, each time it was measured
    scored: tuple[Scored, ...]  # during training, in the order of the steps
    samples: tuple[Sample, ...]  # all answers, by prompt and then by step
    data: Record
    train: Record
    warnings: tuple[str, ...]

    @property
    def score(self) -> float | None:
        """Mean centred accuracy over all tasks."""
        return statistics.fmean(task.centred for task in self.tasks.values()) if self.tasks else None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """Everything the report says about one model."""

    tag: str
    ended: float | None  # unix seconds of the last event
    model: Record  # ModelConfig
    parameters: Mapping[str, int]  # by group, with "total"
    machine: Record
    plan: Record
    stages: tuple[StageReport, ...]
    core: Mapping[str, Record] = field(default_factory=dict)  # by stage, what `eval/core.json` holds


def collect(model_dir: Path) -> RunReport:
    """Read the files of one model.

    Args:
        model_dir: `{base}/models/{tag}`; a folder without any stage gives an empty report.

    Raises:
        StorageError: a file exists but may not be read.
    """
    stage_dirs = [model_dir / name for name in STAGES if (model_dir / name).is_dir()]
    configs = [_read_json(stage_dir / "config.json") for stage_dir in stage_dirs]
    logs = [_read_lines(stage_dir / "events.jsonl") for stage_dir in stage_dirs]
    machines = [_mapping(config, "machine") for config in configs]
    machines += [_mapping(event, "machine") for events in logs for event in _of(events, "StageStarted")]
    counts = _first(_mapping(config, "parameters") for config in configs)
    times = [time for events in logs for event in events if (time := _number(event.get("time"))) is not None]
    return RunReport(
        tag=model_dir.name,
        ended=max(times, default=None),
        model=_first(_mapping(config, "model") for config in configs),
        parameters={name: int(n) for name, value in counts.items() if (n := _number(value)) is not None},
        machine=_first(machines),
        plan=_read_json(model_dir / "speedrun.json"),
        stages=tuple(
            _stage(stage_dir, config, _without_abandoned(events))
            for stage_dir, config, events in zip(stage_dirs, configs, logs, strict=True)
        ),
        core={
            stage_dir.name: found for stage_dir in stage_dirs if (found := _read_json(stage_dir / "eval" / "core.json"))
        },
    )


def newest_tag(models_dir: Path) -> str | None:
    """The model whose files changed last; None when there is no model."""
    with translate_os_errors(models_dir):
        if not models_dir.exists() or not any(models_dir.iterdir()):  # glob passes over what it may not read
            return None
        files = [
            path
            for stage in STAGES
            for name in ("config.json", "events.jsonl", "finished.json")
            for path in models_dir.glob(f"*/{stage}/{name}")
        ]
        files += models_dir.glob("*/speedrun.json")  # all there is while data and tokenizer are made
        newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.relative_to(models_dir).parts[0]


def _stage(stage_dir: Path, config: Record, events: Sequence[Record]) -> StageReport:
    finished = _read_json(stage_dir / "finished.json")
    steps = _of(events, "StepDone")
    last = steps[-1] if steps else {}
    named = {path.stem: _read_json(path) for path in sorted((stage_dir / "eval").glob("*.json"))}
    evals = list(named.values())
    eval_times = [seconds for e in evals if (seconds := _number(e.get("elapsed_s"))) is not None]
    evaluated = _of(events, "Evaluated")
    bpb = _numbers((e for e in evaluated if e.get("name") == "val_bpb"), "value")
    started = _of(events, "StageStarted")
    asked, others = _asked(named)
    rates = _numbers(steps, "tokens_per_s")
    shares = _numbers(steps, "mfu")
    return StageReport(
        name=stage_dir.name,
        finished=bool(finished),
        step=_whole(finished.get("step", last.get("step"))),
        total_steps=_whole(last.get("total_steps", started[-1].get("total_steps") if started else None)),
        tokens=_whole(finished.get("tokens", last.get("tokens"))),
        train_s=_number(finished.get("elapsed_s", last.get("elapsed_s"))),
        eval_s=sum(eval_times) if eval_times else None,
        tokens_per_s=statistics.median(rates) if rates else None,
        mfu=statistics.median(shares) if shares else None,
        peak_memory_bytes=_whole(finished.get("peak_memory_bytes")),
        losses=_numbers(steps, "loss"),
        rewards=_numbers(_of(events, "RolloutsDone"), "reward"),
        passed=_passed(evaluated),
        val_bpb=bpb or _numbers([*evals, finished], "val_bpb")[:1],
        tasks=asked.tasks if asked else _told(evaluated),
        asked=asked,
        others=others,
        bits_per_byte=_bits_per_byte(named),
        core=_core(evaluated),
        scored=_scored(evaluated),
        samples=_samples(_read_lines(stage_dir / "samples.jsonl") or _of(events, "Sampled")),
        data=_mapping(config, "data"),
        train=_mapping(config, "train"),
        warnings=_warnings(events),
    )


def _without_abandoned(events: Sequence[Record]) -> list[Record]:
    """The events that led to the present model: those after the step a resume went back to are dropped."""
    kept: list[Record] = []
    for event in events:
        if event.get("event") == "StageStarted":
            resumed = _number(event.get("resumed_from"))
            if resumed is None:
                kept = []
            kept = [e for e in kept if resumed is not None and (_number(e.get("step")) or 0) <= resumed]
        kept.append(event)
    return kept


def _asked(named: Mapping[str, Record]) -> tuple[Asked | None, tuple[Asked, ...]]:
    """The scores that stand for the stage, and all others.

    They are those of the test problems as they stand, of the latest step; where there are none, as of a base model
    that knows no chat, those behind examples.
    """
    files = [(name.partition("@")[0], record, _scores(record)) for name, record in named.items()]
    found = [
        (file, Asked(how=file.partition("-")[2].replace("-", ", "), step=_whole(record.get("step")), tasks=tasks))
        for file, record, tasks in files
        if tasks
    ]
    main = [asked for file, asked in found if file in PLAIN] or [
        asked for _, asked in found if _FEW_SHOT.fullmatch(asked.how)
    ]
    if not main:
        return None, tuple(asked for _, asked in found)
    newest = max(main, key=lambda asked: -1 if asked.step is None else asked.step)
    alike = [asked for asked in main if (asked.step, asked.how) == (newest.step, newest.how)]
    tasks = {name: score for asked in alike for name, score in asked.tasks.items()}
    others = tuple(asked for _, asked in found if not any(asked is one for one in alike))
    return Asked(how=newest.how, step=newest.step, tasks=tasks), others


def _scores(evaluation: Record) -> dict[str, TaskScore]:
    tasks = ((name, _task(task, "accuracy")) for name, task in _mapping(evaluation, "tasks").items())
    return {name: score for name, score in tasks if score}


def _told(evaluated: Sequence[Record]) -> dict[str, TaskScore]:
    """Scores from the events, for a stage without files of them."""
    # a score has a number of problems; what is told during training is of other problems than the table's
    named = ((str(event.get("name")), event) for event in evaluated)
    scores = {name: _task(event, "value") for name, event in named if event.get("n") and not is_during_training(name)}
    return {name: score for name, score in scores.items() if score}


def _bits_per_byte(named: Mapping[str, Record]) -> tuple[BitsPerByte, ...]:
    found = []
    for name, record in named.items():
        splits = {
            split: (value, _number(score.get("low")), _number(score.get("high")))
            for split, score in _mapping(record, "splits").items()
            if isinstance(score, Mapping) and (value := _number(score.get("bpb"))) is not None
        }
        if name.startswith("bpb") and splits:
            found.append(BitsPerByte(step=_whole(record.get("step")), text=str(record.get("data", "")), splits=splits))
    return tuple(found)


def _core(evaluated: Sequence[Record]) -> tuple[CorePoint, ...]:
    found = {
        step: CorePoint(step=step, value=value, n=_whole(event.get("n")))
        for event in evaluated
        if event.get("name") == "core"
        and (step := _whole(event.get("step"))) is not None
        and (value := _number(event.get("value"))) is not None
    }
    return tuple(found[step] for step in sorted(found))


def _scored(evaluated: Sequence[Record]) -> tuple[Scored, ...]:
    """What was told at validations, but for the bits per byte: the newest of each name and step."""
    found: dict[tuple[int, str], Scored] = {}
    for event in evaluated:
        name, step, value = str(event.get("name")), _whole(event.get("step")), _number(event.get("value"))
        if step is None or value is None or name == "val_bpb":
            continue
        if name.startswith(VALIDATION) or not event.get("n"):
            short = name.removeprefix(VALIDATION)
            found[step, short] = Scored(step=step, name=short, value=value)
    return tuple(sorted(found.values(), key=lambda scored: scored.step))


def _passed(evaluated: Sequence[Record]) -> dict[str, tuple[float, ...]]:
    """The figures of each `problems pass@4`, which are told as they are made."""
    names = dict.fromkeys(str(event.get("name")) for event in evaluated if _PASS in str(event.get("name")))
    return {
        name.removeprefix(VALIDATION): _numbers((e for e in evaluated if e.get("name") == name), "value")
        for name in names
    }


def _task(task: Any, key: str) -> TaskScore | None:
    accuracy = _number(task.get(key)) if isinstance(task, Mapping) else None
    if accuracy is None:
        return None
    low, high, chance = (_number(task.get(name)) for name in ("low", "high", "chance"))
    return TaskScore(accuracy=accuracy, n=_whole(task.get("n")), low=low, high=high, chance=chance)


def _samples(records: Iterable[Record]) -> tuple[Sample, ...]:
    """The newest answer to each prompt at each step."""
    newest: dict[tuple[str, int | None], Sample] = {}
    for record in records:
        if "prompt" in record and "answer" in record:
            prompt, step = str(record["prompt"]), _whole(record.get("step"))
            newest[prompt, step] = Sample(prompt=prompt, answer=str(record["answer"]), step=step)
    prompts = {sample.prompt: at for at, sample in reversed(list(enumerate(newest.values())))}
    return tuple(sorted(newest.values(), key=lambda s: (prompts[s.prompt], -1 if s.step is None else s.step)))


def _warnings(events: Sequence[Record]) -> tuple[str, ...]:
    texts = [str(e.get("message", "")) for e in _of(events, "Notice") if e.get("level") == "warning"]
    return tuple(dict.fromkeys(texts))


def _of(events: Sequence[Record], kind: str) -> list[Record]:
    return [event for event in events if event.get("event") == kind]


def _first(mappings: Iterable[Record]) -> Record:
    """The first that is not empty."""
    return next((mapping for mapping in mappings if mapping), {})


def _mapping(record: Record, key: str) -> Record:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    """A JSON number; None for anything else, NaN and infinities included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _numbers(records: Iterable[Record], key: str) -> tuple[float, ...]:
    return tuple(number for record in records if (number := _number(record.get(key))) is not None)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with translate_os_errors(path):
        return read_events(path)


def _read_json(path: Path) -> Record:
    """A JSON object from a file; empty when there is no such file or it holds something else."""
    with translate_os_errors(path):
        try:
            value = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
    return value if isinstance(value, dict) else {}
