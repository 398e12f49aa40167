"""The process of one logger: `python -m nanochat.loggers NAME MODELS FOLDER`, started by `attach`.

Standard input holds events as lines of JSON, up to an empty line or its end. Standard output is for what the person
who trains should read, as lines of JSON; whatever libraries print goes to standard error, a file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from nanochat.loggers.mirror import Mirror, Tracker

LEAVE_S = 300.0  # after the last event: a logger that then still waits for its network has lost


def make_tracker(name: str, folder: Path) -> Tracker:
    """The tracker of this name."""
    if name == "tensorboard":
        from nanochat.loggers.to_tensorboard import TensorBoard

        return TensorBoard(folder)
    if name == "wandb":
        from nanochat.loggers.to_wandb import Wandb

        return Wandb(folder)
    from nanochat.loggers.to_trackio import Trackio

    return Trackio(folder)


def main(name: str, models: str, folder: str) -> None:
    """Take events until they end."""
    said = os.dup(1)
    os.dup2(2, 1)

    def tell(message: str, level: str = "info") -> None:
        with suppress(OSError):  # the run may be over, or dead, and nobody hears it
            os.write(said, json.dumps({"message": message, "level": level}).encode() + b"\n")

    try:
        mirror = Mirror(name, make_tracker(name, Path(folder)), Path(models), tell)
        for line in sys.stdin.buffer:
            if not line.strip():
                break
            mirror(json.loads(line))
        leave = threading.Timer(LEAVE_S, os._exit, (1,))
        leave.daemon = True
        leave.start()
        mirror.close()
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        tell(f"{name} failed ({type(error).__name__}: {first}); the run goes on without it", "warning")
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
