"""The whole command in a real terminal, with a model that says random bytes: start, chat, stop, fork, a model that is
killed, resize, quit.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from doubles import random_model, tiny_tokenizer
from rich.cells import cell_len

from nanochat.chats.store import FILE, ChatStore
from nanochat.checkpoints.store import save_checkpoint
from nanochat.tokenizer.special import ASSISTANT_END

TMUX = shutil.which("tmux")
REPOSITORY = Path(__file__).parents[3]

Tmux = Callable[..., str]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model whose answers go on until they are stopped, and that for many seconds."""
    model = random_model("D", sequence_len=4096, window_pattern="L")
    tokenizer = tiny_tokenizer()
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
        model.lm_head.weight[[tokenizer.bos, tokenizer.special(ASSISTANT_END)]] = 0  # far below the likeliest
    save_checkpoint(
        tmp_path / "models" / "tiny" / "sft",
        7,
        model_state=model.state_dict(),
        model_config=model.config,
        tokenizer=tokenizer,
        state={},
    )
    return tmp_path


@pytest.fixture
def tmux(base: Path) -> Iterator[Tmux]:
    """A server of its own, with the chat in its window."""
    if TMUX is None:
        pytest.skip("tmux is not installed")
    socket = base / "tmux.sock"

    def tmux(*words: str) -> str:
        command = [str(TMUX), "-S", str(socket), "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30).stdout

    environ = {**os.environ, "NANOCHAT_BASE_DIR": str(base), "PYTHONPATH": str(REPOSITORY / "src"), "LANG": "C.UTF-8"}
    words = [sys.executable, "-m", "nanochat", "chat", "--device", "cpu", "--max-tokens", "60", "--seed", "1"]
    shell = f"{shlex.join(words)} --temperature 1 --top-k none; echo $? > {shlex.quote(str(base / 'code'))}"
    tmux("new-session", "-d", "-x", "100", "-y", "30", shell)
    yield tmux
    tmux("kill-server")


def test_in_a_terminal(tmux: Tmux, base: Path) -> None:
    def seen() -> str:
        return tmux("capture-pane", "-p")

    def until(text: str, count: int = 1, timeout_s: float = 90) -> str:
        deadline = time.monotonic() + timeout_s
        while (screen := seen()).count(text) < count:
            assert time.monotonic() < deadline, screen
            time.sleep(0.1)
        return screen

    until("Ask something")
    tmux("send-keys", "first", "M-Enter", "line", "Enter")
    screen = until("tok/s")
    assert "first\n" in screen and "line" in screen and "tiny:sft@7" in screen
    tmux("send-keys", "/max-tokens 3000", "Enter")
    until("max-tokens is 3000")
    tmux("send-keys", "second", "Enter")
    until("answering")
    tmux("send-keys", "Escape")
    until("stopped")
    tmux("send-keys", "Tab")
    until("r retry")
    tmux("send-keys", "r")
    until("[ 2 of 2 ]")
    tmux("send-keys", "Escape")
    until("stopped")
    tmux("send-keys", "third", "Enter")
    until("answering")
    (pane,) = (psutil.Process(int(line)) for line in tmux("list-panes", "-F", "#{pane_pid}").split())
    (child,) = (one for one in pane.children(recursive=True) if "spawn_main" in " ".join(one.cmdline()))
    child.kill()
    screen = until("ended (signal 9)")
    assert screen.count("third") >= 2, "the question, and the prompt that has its text back"
    tmux("send-keys", "C-c")
    until("once more leaves")
    tmux("resize-window", "-x", "64", "-y", "20")
    time.sleep(0.5)
    lines = seen().splitlines()
    assert max(map(cell_len, lines)) <= 64 and "Esc stop" in lines[-1], "random bytes have not moved anything"
    tmux("send-keys", "C-d")
    deadline = time.monotonic() + 30
    while not (base / "code").exists():
        assert time.monotonic() < deadline, seen()
        time.sleep(0.1)
    assert (base / "code").read_text().strip() == "0"
    store = ChatStore(base / FILE)
    (chat,) = store.chats()
    texts = [(node.message.role, node.figures.get("stop_reason")) for node in store.tree(chat.id).nodes.values()]
    reasons = [reason for role, reason in texts if role == "assistant"]
    assert chat.title == "first line" and reasons[:3] == ["length", "cancelled", "cancelled"], json.dumps(texts)
    assert reasons[3:] in (["broken"], []), "nothing, where it was killed before its first word"
    store.close()
