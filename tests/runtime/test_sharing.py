"""Threads wait briefly, unless somebody decided otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

from nanochat.runtime.sharing import share_cores


def test_threads_sleep_soon_unless_somebody_decided_otherwise() -> None:
    for before, after in (
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ):
        environ = dict(before)
        share_cores(environ)
        assert environ == after


def test_the_command_says_so_before_torch_is_there() -> None:
    code = """
import atexit, os, sys
from nanochat import cli
sys.argv = ["nanochat", "--version"]
atexit.register(lambda: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules))
cli.entry()
"""
    environ = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.splitlines()[-1] == "10000 False"
