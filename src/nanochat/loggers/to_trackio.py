"""A run in Trackio: its local database, or the Space or server that its own TRACKIO_* variables name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.loggers.mirror import Plain, RunIdentity, as_markdown

PROJECT = "nanochat"


class Trackio:
    """One run of the project `nanochat` for each stage; Trackio knows runs by their names.

    Args:
        folder: not used: Trackio's files lie where its own commands look for them.
    """

    def __init__(self, folder: Path) -> None:
        self._run: Any = None

    def open(self, run: RunIdentity, config: Mapping[str, Plain]) -> str:
        """Begin a run or go on with it; returns the command that shows it."""
        import trackio

        self._run = trackio.init(
            project=PROJECT,
            name=run.name,
            group=run.group,
            config={**config, "run_id": run.id},
            resume="allow" if run.known else "never",
            embed=False,
        )
        return f"trackio show --project {PROJECT}"

    def figures(self, step: int, at: float, values: Mapping[str, float]) -> None:
        """Metrics of one step."""
        self._run.log(dict(values), step=step)

    def samples(self, step: int, at: float, rows: list[tuple[str, str]]) -> None:
        """Text."""
        import trackio

        self._run.log({"samples": trackio.Markdown(as_markdown(rows))}, step=step)

    def close(self, finished: bool) -> None:
        """Send what is left."""
        self._run.finish()
