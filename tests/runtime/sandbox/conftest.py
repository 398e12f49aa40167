"""What is left after a run: processes, files, memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from hostile import TOKEN

from nanochat.runtime.sandbox import host
from nanochat.runtime.sandbox.limits import Limits
from nanochat.runtime.sandbox.result import SandboxResult
from nanochat.runtime.sandbox.run import run_python

GONE_S = 2.0
"""How long killed processes may take to vanish on a busy machine."""
FLAT_BYTES = 32 << 20


@dataclass
class Scene:
    """A folder that must stay as it is, and what was seen of the runs."""

    outside: Path
    sessions: list[int] = field(default_factory=list)
    most_memory: int = 0

    @property
    def secret(self) -> Path:
        return self.outside / "secret"

    def stage(self, program: str) -> str:
        names = {"SECRET": str(self.secret), "OUTSIDE": str(self.outside), "HOST": str(os.getpid())}
        for name, value in names.items():
            program = program.replace(name, value)
        return program

    def attack(self, program: str, limits: Limits) -> SandboxResult:
        before = psutil.Process().memory_info().rss
        result = run_python(self.stage(program), limits=limits)
        assert psutil.Process().memory_info().rss - before < FLAT_BYTES
        self.untouched(limits)
        return result

    def untouched(self, limits: Limits) -> None:
        assert self.secret.read_text() == TOKEN
        assert [path.name for path in self.outside.iterdir()] == ["secret"]
        until = time.monotonic() + GONE_S
        while left := self.survivors():
            assert time.monotonic() < until, left
            time.sleep(0.01)

    def survivors(self) -> list[str]:
        found = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) in self.sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(str(psutil.Process(pid)))
            except (ProcessLookupError, psutil.Error):
                continue
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    scene = Scene(outside)
    scene.secret.write_text(TOKEN)
    scene.secret.chmod(0o666)
    for folder in tmp_path.parents:  # what keeps a program out must be the sandbox, not these folders' modes
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setenv("NANOCHAT_TEST_SECRET", TOKEN)
    look = host.memory_bytes

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            scene.sessions.append(self.pid)

    def recorded(pid: int) -> int:
        found = look(pid)
        scene.most_memory = max(scene.most_memory, found)
        return found

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(host, "memory_bytes", recorded)
    return scene
