"""The command itself, for benchmarks that measure whole runs of it; of this repository, installed or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def nanochat(base: Path, *words: str, processes: int = 1, threads: int | None = None) -> str:
    """Run it to its end, or end with what it said when it fails.

    Args:
        base: folder for models and data.
        words: of its command line.
        processes: under torchrun, where there are several.
        threads: of each process before the command chooses; None leaves that to the machine.

    Returns:
        What it wrote on stdout.
    """
    environ = {**os.environ, "NANOCHAT_BASE_DIR": str(base)}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), environ.get("PYTHONPATH")]))
    if threads:
        environ["OMP_NUM_THREADS"] = str(threads)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "nanochat", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(words)}\n{done.stderr}")
    return done.stdout
