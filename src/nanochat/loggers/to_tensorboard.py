"""A run as TensorBoard's event files, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.loggers.mirror import Plain, RunIdentity, as_markdown


class TensorBoard:
    """Writes `{folder}/tensorboard/d12/base/{id}/events.out.tfevents.*`; a run that goes on adds a file there.

    Args:
        folder: for all runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._writer: Any = None

    def open(self, run: RunIdentity, config: Mapping[str, Plain]) -> str:
        """Begin a run or go on with it; returns the command that shows it."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        path = self._folder.joinpath(*run.name.replace("/", "-").replace("\\", "-").split(":"), run.id)
        self._writer = EventFileWriter(str(path), flush_secs=5)
        if not run.known:
            self._write(0, None, hparams_pb(dict(config), trial_id=run.id))
        return f"tensorboard --logdir {self._folder}"

    def figures(self, step: int, at: float, values: Mapping[str, float]) -> None:
        """Scalars."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(
            step, at, Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        )

    def samples(self, step: int, at: float, rows: list[tuple[str, str]]) -> None:
        """Text."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(step, at, text_pb("samples", as_markdown(rows)))

    def close(self, finished: bool) -> None:
        """Write what is left."""
        self._writer.close()

    def _write(self, step: int, at: float | None, summary: Any) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time() if at is None else at, step=step, summary=summary))
