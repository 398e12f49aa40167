"""What benchmarks share that measure jobs in processes of their own, on the test data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from command import REPOSITORY

_SIGN = "RESULT "


def test_data() -> Path:
    """The folder of real data that tests read too: NANOCHAT_TEST_DATA, by default ../shared."""
    return Path(os.environ.get("NANOCHAT_TEST_DATA") or REPOSITORY.parent / "shared")


def text_folder(given: Path | None) -> Path:
    """The folder of shards to read: the one given, by default base_data of the test data."""
    return given or test_data() / "data" / "base_data"


def shards_of(given: Path | None) -> list[Path]:
    """The shards in that folder, or the end of the program where there are no two."""
    folder = text_folder(given)
    shards = sorted(folder.glob("shard_*.parquet"))
    if len(shards) < 2:
        sys.exit(f"error: no shards in {folder}\nhint: give a folder of them with --data")
    return shards


def run_job(script: str, job: dict[str, Any], **environ: str) -> subprocess.CompletedProcess[str]:
    """`script --child JOB`, run to its end with these variables and our package."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, script, "--child", json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def tell(result: Any) -> None:
    """In the child: hand the result over, on a line of its own behind whatever libraries print."""
    print(f"\n{_SIGN}{json.dumps(result)}", flush=True)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """In the parent: what the child handed over; None where it ended before."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(_SIGN)]
    return json.loads(lines[0].removeprefix(_SIGN)) if lines else None


def result_of(script: str, job: dict[str, Any], name: str, **environ: str) -> Any:
    """The result of a job, or the end of the program with what it said."""
    done = run_job(script, job, **environ)
    if (result := told(done)) is None:
        sys.exit(f"error: {name} failed\n{done.stderr}")
    return result
