"""A corpus larger than memory, and Ctrl-C in the midst of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STREAM_BYTES = int(os.environ.get("NANOCHAT_STREAM_BYTES", "200_000_000"))
"""20_000_000_000 is what is promised, and takes a minute or two; an ordinary run takes a hundredth of it."""

STREAM = """
import json, random, resource, sys
from nanochat.tokenizer.train import learn

def documents(total):
    # A corpus whose words never end: common ones again and again, and in every document some that are new.
    draw = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(60_000)]
    common = [" ".join(draw.choices(words[: 60 * 4 ** (i % 6)], k=1500)) for i in range(400)]
    made = number = 0
    while made < total:
        number += 1
        new = "".join(letters[number // 26**i % 26] for i in range(5))
        text = f"{common[number % 400]} {new} {new[::-1]} {number}"
        made += len(text)
        yield text

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
learned = learn(documents(int(sys.argv[1])), 8192, max_chars=10**12, doc_cap=10**12)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"bytes": learned.bytes, "unique": learned.unique_chunks, "grown": (after - before) * unit}))
"""


def test_memory_does_not_grow_with_the_corpus() -> None:
    result = subprocess.run(
        [sys.executable, "-c", STREAM, str(STREAM_BYTES)], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout)
    assert found["bytes"] >= STREAM_BYTES
    assert found["unique"] > STREAM_BYTES / 10_000  # the new words did arrive
    # Strings of a batch on their way, tables, a slot for each distinct chunk; and never more than is promised.
    assert found["grown"] < min(150_000_000 + 150 * found["unique"], 2 << 30)


COUNTING = """
from nanochat._rustbpe import BpeTrainer
from nanochat.tokenizer.special import PATTERN
trainer = BpeTrainer({pattern}, 2)
text = "all work and no play " * 100_000
print("ready", flush=True)
trainer.count([text] * 100_000)
"""

MERGING = """
import random
from nanochat._rustbpe import BpeTrainer
from nanochat.tokenizer.special import PATTERN
trainer = BpeTrainer(PATTERN, 2)
draw = random.Random(1)
trainer.count(["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=2_000_000)) * 4])
print("ready", flush=True)
trainer.merge(10_000_000)
"""


@pytest.mark.parametrize(
    "code",
    [COUNTING.format(pattern="PATTERN"), COUNTING.format(pattern="'[a-z]+| '"), MERGING],
    ids=["counting", "counting by the engine", "merging"],
)
def test_ctrl_c_is_answered_within_a_second(code: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        asked = time.perf_counter()
        _, errors = process.communicate(timeout=60)
        assert time.perf_counter() - asked < 1
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=5)) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=20_000)) for _ in range(200)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "some.parquet")
    base = tmp_path / "base"
    command = [sys.executable, "-m", "nanochat", "tokenizer", "train", *([str(tmp_path / "some.parquet")] * 400)]
    with subprocess.Popen(
        [*command, "--base-dir", str(base), "--doc-cap", "1B"], stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(1.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        asked = time.perf_counter()
        process.communicate(timeout=60)
        assert time.perf_counter() - asked < 2  # with the end of the interpreter and its display
    assert process.returncode != 0
    assert [path for path in base.rglob("*") if path.is_file() and "tokenizers" in path.parts] == []
