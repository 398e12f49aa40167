"""How soon the screen of the chat is there, and what an answer that streams onto it costs.

    python benchmarks/chat.py                      ten starts; 2,000 lines of code, of prose and of a list
    python benchmarks/chat.py --starts 3 --lines 500 --json

A start is the command itself on a pseudo-terminal, from its first instruction until the screen is drawn, and until
a letter typed then is on it; processor time is that of the screen's process. There is no model: loading one would begin
after the first frame. The stream gives the screen 250 events a second, a line each four, as a quick model does; counted
are the updates of the screen and the share of a core that they take, in each fifth of the answer: a cost that grew with
the answer would show from fifth to fifth.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import itertools
import json
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY / "src"))

EVENTS_PER_S = 250
PIECES = 4  # events a line
LINES = {
    "code": "    total = total + compute(number, 'some text')  # and so on\n",
    "prose": "Some words of an answer that goes on and on for a while.\n\n",
    "list": "- an item of a list that goes on and on for a while\n",
}
OPENERS = {"code": "```python\n", "prose": "", "list": ""}


def start(base: Path) -> tuple[float, float, float]:
    """Seconds until the first frame and until a letter is on it, and seconds of processor until the frame."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"NANOCHAT_BASE_DIR": str(base), "TERM": "xterm-256color"}
        # as installed: compiled once, wherever and with whatever settings this script runs
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(base / "compiled")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH")])
        )
        os.execv(sys.executable, [sys.executable, "-m", "nanochat", "chat"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    try:
        seen = _until(terminal, b"Ask something")
        frame_s = time.perf_counter() - began
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        processor_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        os.write(terminal, b"~")
        _until(terminal, b"~", seen)
        return frame_s, time.perf_counter() - began, processor_s
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _until(terminal: int, wanted: bytes, seen: bytes = b"") -> bytes:
    """Read until something is drawn that was not before."""
    fresh = b""
    while wanted not in fresh:
        if not select.select([terminal], [], [], 30)[0]:
            sys.exit(f"error: {wanted!r} did not appear")
        fresh += os.read(terminal, 65536)
    return seen + fresh


@dataclass
class Streaming:
    """A model that says lines at a steady pace."""

    kind: str
    lines: int
    name: str = "a model"
    local: bool = False
    tool: None = None

    def start(self) -> None: ...

    def wait(self, timeout_s: float | None = None) -> Any:
        from nanochat.engine.backend import Loaded

        return Loaded(self.name, "cpu", "", 0)

    def ask(self, question: Any) -> Any:
        return self

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def models(self) -> tuple[str, ...]:
        return ()

    def __iter__(self) -> Iterator[Any]:
        from nanochat.engine.events import TextDelta, TurnFinished
        from nanochat.tokenizer.conversation import Message

        text, began, count = OPENERS[self.kind], time.perf_counter(), 0
        yield TextDelta(text)
        line = LINES[self.kind]
        cuts = [len(line) * at // PIECES for at in range(PIECES + 1)]
        for _ in range(self.lines):
            for at in range(PIECES):
                count += 1
                time.sleep(max(0.0, began + count / EVENTS_PER_S - time.perf_counter()))
                piece = line[cuts[at] : cuts[at + 1]]
                text += piece
                yield TextDelta(piece)
        yield TurnFinished(text, count, EVENTS_PER_S, "stop", 0.0, 1, Message.text("assistant", text))


async def stream(kind: str, lines: int) -> dict[str, Any]:
    """Updates and processor time of the screen while an answer comes."""
    from nanochat.config.chat import SamplingConfig
    from nanochat.tui.chat.app import ChatApp
    from nanochat.tui.chat.base import Opening

    backend = Streaming(kind, lines)
    app = ChatApp(Opening(backend=backend, another=lambda name: backend, config=SamplingConfig()))
    updates: list[float] = []
    take = app.take_news

    def counted() -> None:
        before = len(app.said)
        take()
        if len(app.said) != before:
            updates.append(time.perf_counter())

    app.take_news = counted  # type: ignore[method-assign]
    async with app.run_test(size=(100, 30)) as pilot:
        while app.loaded is None:
            await pilot.pause(0.05)
        marks: list[tuple[float, float]] = []
        await app.take_prompt("go")
        whole = len(OPENERS[kind]) + lines * len(LINES[kind])
        while app.busy:
            if len(app.said) >= whole * len(marks) / 5:
                marks.append((time.perf_counter(), time.process_time()))
            await asyncio.sleep(0.02)
        marks.append((time.perf_counter(), time.process_time()))
    wall_s, processor_s = (marks[-1][at] - marks[0][at] for at in (0, 1))
    fifths = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(marks)]
    return {
        "what": kind,
        "lines": lines,
        "events_per_s": lines * PIECES / wall_s,
        "updates_per_s": len(updates) / wall_s,
        "share_of_core": processor_s / wall_s,
        "fifths": fifths,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as base:
        if args.starts:
            start(Path(base))  # byte code is compiled, files are in memory
            found = [start(Path(base)) for _ in range(args.starts)]
            names = ("first_frame_s", "letter_s", "processor_s")
            report = {
                name: statistics.median(column) for name, column in zip(names, zip(*found, strict=True), strict=True)
            }
    report["streams"] = [asyncio.run(stream(kind, args.lines)) for kind in LINES] if args.lines else []
    if args.json:
        print(json.dumps(report))
        return
    if args.starts:
        print(f"first frame          {report['first_frame_s'] * 1e3:.0f} ms, median of {args.starts}")
        print(f"a letter typed then  {report['letter_s'] * 1e3:.0f} ms")
        print(f"processor until then {report['processor_s'] * 1e3:.0f} ms")
    for row in report["streams"]:
        fifths = " ".join(f"{share:.0%}" for share in row["fifths"])
        print(
            f"{row['lines']:,} lines of {row['what']:<6} {row['events_per_s']:.0f} events/s,"
            f" {row['updates_per_s']:.1f} updates/s, {row['share_of_core']:.0%} of a core ({fifths})"
        )


if __name__ == "__main__":
    main()
