"""Checkpoints written beside the training: a save costs a step the copy of the tensors, the disk costs it nothing.

One is written at a time. What goes wrong is raised by the next call: nothing is lost in silence.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nanochat.checkpoints.store import save_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


NICENESS = 10  # a tenth of the time of a thread that computes beside it


class BackgroundSaver:
    """Writes one checkpoint after the other on a thread of its own.

    Use it as a block: its end waits for the last one.

    Args:
        on_saved: told step and folder of each that is complete, on the thread that calls.
    """

    def __init__(self, on_saved: Callable[[int, Path], None]) -> None:
        self._on_saved = on_saved
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save", initializer=_step_back)
        self._coming: tuple[int, Future[Path]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:
            if error is None:  # else what ended the block says more
                raise
        finally:
            self._thread.shutdown()

    def save(
        self,
        stage_dir: Path,
        step: int,
        *,
        model_state: Mapping[str, Tensor],
        optimizer_state: Mapping[str, Tensor],
        **arguments: Any,
    ) -> None:
        """Copy the tensors and return; see `store.save_checkpoint` for the arguments.

        Raises:
            StorageError: the one before could not be written.
        """
        self.wait()
        model, optimizer = _copied(model_state), _copied(optimizer_state)
        self._coming = (
            step,
            self._thread.submit(
                save_checkpoint, stage_dir, step, model_state=model, optimizer_state=optimizer, **arguments
            ),
        )

    def poll(self) -> None:
        """Tell of a checkpoint that is complete by now, or raise what went wrong."""
        if self._coming and self._coming[1].done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            StorageError: disk full, no permission, read-only, a failing device.
        """
        if self._coming:
            (step, coming), self._coming = self._coming, None
            self._on_saved(step, coming.result())


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _step_back() -> None:
    """Let the training have the processor where both want it. On Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
