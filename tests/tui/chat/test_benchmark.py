"""The benchmark of the screen runs, and what it counts is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "chat.py"


def test_streams() -> None:
    words = [sys.executable, str(SCRIPT), "--starts", "0", "--lines", "40", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["streams"]
    assert [row["what"] for row in rows] == ["code", "prose", "list"]
    assert all(0 < row["updates_per_s"] <= 21 and row["events_per_s"] > 20 for row in rows), rows
