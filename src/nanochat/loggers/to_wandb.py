"""A run at Weights & Biases; kept on disk, to be sent later, where there is no network or no login.

wandb's own variables hold: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_DIR and the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.loggers.mirror import Plain, RunIdentity

INIT_LIMIT_S = 30.0  # then it goes on without the network


class Wandb:
    """Figures by our own `step`, an axis like any other: wandb's counts calls, which a run that goes on repeats.

    Args:
        folder: where wandb keeps its files, in `wandb/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None

    def open(self, run: RunIdentity, config: Mapping[str, Plain]) -> str:
        """Begin a run or go on with it; returns its address, or the command that sends it later.

        Raises:
            wandb.errors.Error: neither can be had.
        """
        import wandb

        def init(mode: str | None) -> Any:
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "nanochat",
                id=run.id,
                name=run.name,
                group=run.group,
                job_type=run.stage,
                config=dict(config),
                dir=os.environ.get("WANDB_DIR") or self._folder,
                mode=mode,  # type: ignore[arg-type]
                resume="allow",
                settings=wandb.Settings(silent=True, console="off", init_timeout=INIT_LIMIT_S),
            )

        why = ""
        try:
            self._run = init(None)
        except wandb.errors.Error as error:
            first = str(error).split("\n")[0].rstrip(".")
            why = f"wandb: {first}; recording offline, "
            wandb.teardown()  # its service may still be trying, and holds the id
            self._run = init("offline")
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        if self._run.url:
            return f"wandb: {self._run.url}"
        if self._run.settings.mode == "disabled":
            return "wandb is switched off by WANDB_MODE=disabled"
        # every start of a run that goes on is a folder of its own, with the same id
        folders = Path(self._run.settings.sync_dir).with_name(f"offline-run-*-{run.id}")
        return f"{why or 'wandb records offline, '}send it later: wandb sync {folders}"

    def figures(self, step: int, at: float, values: Mapping[str, float]) -> None:
        """A row of the run's history."""
        self._run.log({"step": step, **values})

    def samples(self, step: int, at: float, rows: list[tuple[str, str]]) -> None:
        """A table."""
        import wandb

        table = wandb.Table(columns=["step", "prompt", "answer"], data=[[step, *row] for row in rows])
        self._run.log({"step": step, "samples": table})

    def close(self, finished: bool) -> None:
        """Send what is left."""
        self._run.finish(exit_code=0 if finished else 1)
