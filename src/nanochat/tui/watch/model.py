"""All stages of one model, and where its pipeline stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanochat.checkpoints.evals import number
from nanochat.checkpoints.layout import tags
from nanochat.config.stages import STAGES
from nanochat.runtime.paths import Paths
from nanochat.tui.watch.run import EVENTS, Gathered, StageLog, State

PIPELINE = ("data", "tokenizer", *STAGES, "eval")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageState:
    """One box of the pipeline. None stands for what the files do not tell."""

    name: str
    state: State
    step: int | None = None
    total_steps: int | None = None
    tokens: int | None = None
    elapsed_s: float | None = None
    val_bpb: float | None = None
    score: float | None = None  # mean centred accuracy
    detail: str = ""


class Model:
    """A model, followed through the files of its stages.

    Args:
        folder: `{base}/models/{tag}`.
        stage: the one to look at; None is the one that something happened to last.
    """

    def __init__(self, folder: Path, stage: str | None = None) -> None:
        self.folder = folder
        self.tag = folder.name
        self.stage = stage
        self.problem = ""  # why a log cannot be read, as the system says it
        self.logs = {name: StageLog(folder / name) for name in STAGES}

    @property
    def shown(self) -> StageLog:
        """The stage to look at."""
        if self.stage:
            return self.logs[self.stage]
        present = [log for log in self.logs.values() if log.exists]
        dated = [log for log in present if log.last_time is not None]
        if dated and not self.left:
            return max(dated, key=lambda log: (log.last_time or 0.0, STAGES.index(log.stage)))
        return present[-1] if present else self.logs[STAGES[0]]

    def beside(self, log: StageLog) -> StageLog:
        """The stage to compare a run with: the one that was chosen, else the same one, else the one to look at."""
        same = self.logs[log.stage]
        return same if not self.stage and same.exists else self.shown

    @property
    def present(self) -> list[str]:
        """The stages of which something is known."""
        return [name for name, log in self.logs.items() if log.exists]

    @property
    def left(self) -> int:
        """Bytes of the logs that were not read yet."""
        return sum(log.left for log in self.logs.values())

    def read(self) -> tuple[dict[str, Gathered], str]:
        """What is new in the files of all stages, and what is wrong with one; may run on another thread than `take`."""
        found: dict[str, Gathered] = {}
        problem = ""
        for name, log in self.logs.items():
            try:
                found[name] = log.read()
            except OSError as error:
                problem = problem or f"{error.filename or log.folder}: {error.strerror or error}"
        return found, problem

    def take(self, news: tuple[Mapping[str, Gathered], str]) -> bool:
        """Take in what `read` found; True when something is different now."""
        found, problem = news
        for name, gathered in found.items():
            self.logs[name].take(gathered)
        changed = problem != self.problem or any(gathered.changed for gathered in found.values())
        self.problem = problem
        return changed

    def catch_up(self) -> None:
        """Read to the end of all files."""
        self.take(self.read())
        while self.left and not self.problem:
            self.take(self.read())

    def pipeline(self, now: float) -> list[StageState]:
        """Every box of the pipeline, in order, without stages that were passed over."""
        config = next((log.config for log in self.logs.values() if log.config), {})
        state: State = "finished" if self.present else "to come"
        boxes = [
            StageState(name="data", state=state, detail=_data(config)),
            StageState(name="tokenizer", state=state, detail=_tokenizer(config)),
        ]
        furthest = max((STAGES.index(name) for name in self.present), default=-1)
        for at, (name, log) in enumerate(self.logs.items()):
            if log.exists:
                boxes.append(_trained(log, now))
            elif at > furthest and name != "rl":
                boxes.append(StageState(name=name, state="to come"))
        scored = [log for log in self.logs.values() if log.score is not None]
        last = scored[-1] if scored else None
        done = last is not None and last.stage == STAGES[furthest] and last.state(now) == "finished"
        boxes.append(
            StageState(
                name="eval",
                state="finished" if done else "to come",
                score=last.score if last else None,
                detail=f"of {last.stage}" if last else "",
            )
        )
        return boxes


def runs(paths: Paths) -> list[tuple[str, str]]:
    """Tag and stage of every run that has a log, the newest first.

    Raises:
        StorageError: the folder of models cannot be read.
    """
    found = []
    for tag in tags(paths):
        for stage in STAGES:
            try:
                changed = (paths.models / tag / stage / EVENTS).stat().st_mtime
            except OSError:
                continue
            found.append((changed, STAGES.index(stage), tag, stage))
    return [(tag, stage) for *_, tag, stage in sorted(found, reverse=True)]


def _data(config: Mapping[str, object]) -> str:
    """What a stage was trained on, in words."""
    record = config.get("data")
    record = record if isinstance(record, Mapping) else {}
    documents = number(record.get("documents"))
    name = record.get("name")
    words = [name] if isinstance(name, str) else []
    return ", ".join([*words, f"{int(documents):,} documents"] if documents else words)


def _tokenizer(config: Mapping[str, object]) -> str:
    record = config.get("model")
    size = number(record.get("vocab_size")) if isinstance(record, Mapping) else None
    return f"{int(size):,} tokens" if size else ""


def _trained(log: StageLog, now: float) -> StageState:
    tokens = log.last.tokens if log.last else number((log.finished or {}).get("tokens"))
    state, other = log.state(now), log.other_validation
    return StageState(
        name=log.stage,
        state=state,
        step=log.step,
        total_steps=log.total_steps or None,
        tokens=None if tokens is None else int(tokens),
        elapsed_s=log.elapsed_s,
        val_bpb=log.val_bpb,
        score=log.score,
        detail=f"{state}, {other}" if other else "",
    )
