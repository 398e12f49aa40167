"""Our loader against the reference's packing on the same text: what is lost, what is cut, how fast, how large.

    python benchmarks/loader.py                        three passes at T = 512, 1,024 and 2,048: six minutes
    python benchmarks/loader.py --lengths 2048 --passes 1 --json

Loaders: `ours`; `ours, tails dropped`, with the dial that throws the rest of a cut document away; `reference`, the
rules of the system we build on: refill to 1,000 documents in lots of 128 before each pick, take the largest that fits,
and when none fits crop the shortest and discard its tail. All tokenize with our tokenizer and choose from 1,000
documents.

`fill` is the share of places in rows that hold a document's token or the bos before it. The next three are of the
documents that began to come in the passes measured; a further pass, or ten buffers, is waited for what is still to come
of them. `lost` is the share of tokens that never come, `without beginning` of those that come in a later row than their
document's beginning, and `least possible` what both together must be at that length: what is beyond T tokens. They are
told from the rows alone: a tracing tokenizer gives every token of the data a number of its own. `cuts` are the pieces
of 100 rows that end before their document does.

Speed is that of a whole loader, reading and tokenizing included: ours on one thread for rows and one that reads ahead.
`waits` is the share of a run's time that steps spend waiting for their rows: of half a million tokens, at --rate tokens
per second for all of 8 processes (`sleep`: the processor is free meanwhile), and of 4,096 tokens with a tenth of a
second of matrix products on all cores (`matmul`). Memory is that of the process above what it was before the loader,
after each pass and at its peak.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobs import result_of, shards_of, tell

WHO = ("ours", "ours, tails dropped", "reference")
BUFFER, LOT = 1000, 128
STEP_TOKENS = 2**19
RANKS = 8
CHUNK = 64  # rows asked for at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=None, help="folder of shards (default: base_data of the test data)"
    )
    parser.add_argument("--lengths", default="512,1024,2048", help="values of T, separated by commas")
    parser.add_argument("--passes", type=int, default=3, help="passes over the training shards")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--rate", type=float, default=740_000, help="tokens per second of the steps that sleep")
    parser.add_argument("--steps", type=int, default=12, help="steps of each kind")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of the timings")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        job = json.loads(args.child)
        tell(KINDS[job["kind"]](job))
        return
    shards = shards_of(args.data)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(args, [str(path) for path in shards[:-1]], scratch)
    print(json.dumps(report, indent=2) if args.json else as_text(report))


# the parent: who runs when


def measure(args: argparse.Namespace, shards: list[str], scratch: str) -> dict[str, Any]:
    common = {"shards": shards, "tokenizer": scratch, "passes": args.passes, "rate": args.rate, "steps": args.steps}
    made = child({**common, "kind": "tokenizer", "vocab_size": args.vocab_size})
    rows = []
    for length in map(int, args.lengths.split(",")):
        found: dict[str, dict[str, Any]] = {}
        for who in WHO:
            print(f"T = {length}: rows, {who}", file=sys.stderr)
            found[who] = child({**common, "kind": "trace", "who": who, "length": length})
        for round_ in range(args.repeat):  # in turns, and the best counts: others use the machine too
            for who in (WHO[0], WHO[2]):
                print(f"T = {length}: time, {who}, round {round_ + 1} of {args.repeat}", file=sys.stderr)
                job = {**common, "who": who, "length": length, "tokens": made["tokens"]}
                for timed in (child({**job, "kind": "speed"}), child({**job, "kind": "wait"})):
                    for name, value in timed.items():  # of lists the greatest: memory
                        chosen = min if name.startswith("wait") else max
                        found[who][name] = chosen(found[who].get(name, value), value)
        rows += [{"length": length, "who": who, **found[who]} for who in WHO]
    return {"text": made, "settings": {"passes": args.passes, "rate": args.rate, "repeat": args.repeat}, "rows": rows}


def child(job: dict[str, Any]) -> Any:
    """Run one job in a process of its own."""
    return result_of(__file__, job, job["kind"])


# the child: one job


def make_tokenizer(job: dict[str, Any]) -> dict[str, Any]:
    from nanochat.data.shards import read_group, row_groups
    from nanochat.tokenizer.train import train_tokenizer

    texts = [text for path in map(Path, job["shards"]) for n in range(row_groups(path)) for text in read_group(path, n)]
    tokenizer = train_tokenizer(texts, job["vocab_size"])
    tokenizer.save(Path(job["tokenizer"]))
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    return {"documents": len(texts), "tokens": tokens, "vocab_size": tokenizer.vocab_size}


def loader_of(job: dict[str, Any], tokenizer: Any) -> Any:
    """What has `rows(count)`."""
    from nanochat.data.loader import RowLoader

    shards = tuple(map(Path, job["shards"]))
    if job["who"] == "reference":
        return Reference(shards, tokenizer, job["length"])
    tails = "drop" if job["who"] == "ours, tails dropped" else "keep"
    return RowLoader(shards, tokenizer, job["length"], seed=1, buffer=BUFFER, tails=tails)


def steps_of(job: dict[str, Any], tokenizer: Any, rows: int, ranks: int) -> Callable[[], Any]:
    """Gives the batch of the next step to the first of `ranks` processes."""
    import torch

    from nanochat.training.batches import Prepared, Share, TextPacker

    loader = loader_of(job, tokenizer)
    if job["who"] != "reference":
        batches = Prepared(TextPacker(loader, Share(0, ranks)))
        return lambda: batches.step(rows)

    def step() -> Any:
        ids = torch.from_numpy(loader.rows(rows // ranks))  # each process packs for itself
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    return step


class Reference:
    """The reference's packing, searching its whole buffer for each document as it does."""

    def __init__(self, shards: tuple[Path, ...], tokenizer: Any, length: int) -> None:
        self.tokenizer, self.row_len = tokenizer, length + 1
        self.buffer: list[Any] = []
        self.lots = self.read(shards)

    def read(self, shards: tuple[Path, ...]) -> Iterator[list[Any]]:
        import numpy as np

        from nanochat.data.passes import documents

        for _, texts in documents(shards):
            for start in range(0, len(texts), LOT):
                part = texts.part(start, min(start + LOT, len(texts)))
                ids, offsets = self.tokenizer.encode_column(part.data, part.offsets, num_threads=1)
                bos = np.array([self.tokenizer.bos], np.uint32)
                yield [np.concatenate([bos, one]) for one in np.split(ids, offsets[1:-1])]

    def rows(self, count: int) -> Any:
        import numpy as np

        rows = np.empty((count, self.row_len), np.int64)
        for row in rows:
            used = 0
            while (room := self.row_len - used) > 0:
                while len(self.buffer) < BUFFER:
                    self.buffer += next(self.lots)
                best, best_length = -1, 0
                for index, ids in enumerate(self.buffer):
                    if best_length < len(ids) <= room:
                        best, best_length = index, len(ids)
                if best < 0:
                    best = min(range(len(self.buffer)), key=lambda index: len(self.buffer[index]))
                ids = self.buffer.pop(best)[:room]
                row[used : used + len(ids)] = ids
                used += len(ids)
        return rows


class Tracing:
    """A tokenizer whose tokens are numbers of their own, 1, 2, 3, ..., as many for each text as the real one gives."""

    bos = 0

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.starts: list[Any] = []
        self.given = 1

    def encode_column(self, data: Any, offsets: Any, num_threads: int) -> tuple[Any, Any]:
        import numpy as np

        _, ends = self.tokenizer.encode_column(data, offsets, num_threads)
        first, self.given = self.given, self.given + int(ends[-1])
        self.starts.append(first + ends[:-1])
        return np.arange(first, self.given, dtype=np.uint32), ends


def trace(job: dict[str, Any]) -> dict[str, Any]:
    """What became of every token, told from the rows."""
    import numpy as np

    from nanochat.tokenizer.tokenizer import Tokenizer

    tracing = Tracing(Tokenizer.load(Path(job["tokenizer"])))
    loader = loader_of(job, tracing)
    documents, text_tokens = size_of(job)
    patience = max(text_tokens, 10 * BUFFER * text_tokens // documents)
    flat, tokens = [], 0
    while tokens < text_tokens * job["passes"] + patience:
        chunk = loader.rows(CHUNK)
        tokens += int((chunk != 0).sum())
        flat.append(chunk.astype(np.uint32))
    everything = np.concatenate(flat)
    row_tokens = (everything != 0).sum(axis=1)
    measured = int(np.searchsorted(np.cumsum(row_tokens), text_tokens * job["passes"])) + 1
    starts = np.unique(np.concatenate(tracing.starts))
    lengths = np.diff(np.append(starts, tracing.given))

    came = np.bincount(everything.ravel(), minlength=tracing.given)
    assert came[1:].max() == 1, "a token came twice"
    counted = everything[:measured].ravel()
    places = counted.size
    is_token = counted != 0
    opens = np.flatnonzero(~is_token[:-1] & is_token[1:]) + 1  # a row begins with bos, so no piece spans two
    ends = np.append(np.flatnonzero(is_token[:-1] & ~is_token[1:]), places - 1)[: len(opens)]
    sizes = ends - opens + 1
    assert (counted[ends] - counted[opens] + 1 == sizes).all(), "a piece is not of one document in order"
    document = np.searchsorted(starts, counted[opens], "right") - 1
    continued = counted[opens] != starts[document]
    cut = counted[ends] != starts[document] + lengths[document] - 1
    begun = document[~continued]
    assert len(np.unique(begun)) == len(begun), "a document began twice"
    in_documents = np.cumsum(np.append(0, came[1:]))
    arrived = in_documents[starts[begun] + lengths[begun] - 1] - in_documents[starts[begun] - 1]
    return {
        "rows": measured,
        "fill": (int(sizes.sum()) + len(opens)) / places,
        "lost": 1 - int(arrived.sum()) / int(lengths[begun].sum()),
        "without_beginning": 1 - int(sizes[~continued].sum()) / int(arrived.sum()),
        "least_possible": int(np.maximum(lengths[begun] - job["length"], 0).sum()) / int(lengths[begun].sum()),
        "cuts_per_100_rows": 100 * int(cut.sum()) / measured,
        "pieces_per_row": len(opens) / measured,
    }


def size_of(job: dict[str, Any]) -> tuple[int, int]:
    """Documents and tokens of a pass."""
    from nanochat.data.shards import read_texts, row_groups
    from nanochat.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Path(job["tokenizer"]))
    documents = tokens = 0
    for path in map(Path, job["shards"]):
        for group in range(row_groups(path)):
            for _, texts in read_texts(path, group):
                documents += len(texts)
                tokens += len(tokenizer.encode_column(texts.data, texts.offsets)[0])
    return documents, tokens


def time_rows(job: dict[str, Any]) -> dict[str, Any]:
    """Rows per second over all passes, and the memory after each."""
    from nanochat.data.shards import read_texts
    from nanochat.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Path(job["tokenizer"]))
    texts = next(read_texts(Path(job["shards"][0]), 0))[1].part(0, 8)  # now libraries are loaded
    tokenizer.encode_column(texts.data, texts.offsets, num_threads=1)
    a_pass = job["tokens"] // job["length"] + 1  # rows
    before = resident("VmRSS")
    loader = loader_of(job, tokenizer)
    memory, seconds = [], 0.0
    for _ in range(job["passes"]):
        started = time.perf_counter()
        for _ in range(0, a_pass, CHUNK):
            loader.rows(CHUNK)
        seconds += time.perf_counter() - started
        memory.append(resident("VmRSS") - before)
    rate = job["passes"] * (-(-a_pass // CHUNK) * CHUNK) / seconds
    peak = resident("VmHWM") - before
    return {"rows_per_s": rate, "tokens_per_s": rate * job["length"], "memory_bytes": memory, "peak_bytes": peak}


def time_waiting(job: dict[str, Any]) -> dict[str, Any]:
    """Shares of the time that steps wait for their rows, after the first one."""
    import torch

    from nanochat.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Path(job["tokenizer"]))
    matrix = torch.randn(1024, 1024)

    def multiply() -> None:
        until = time.perf_counter() + 0.1
        while time.perf_counter() < until:
            matrix @ matrix

    def share(count: int, ranks: int, compute: Callable[[], None]) -> float:
        step = steps_of(job, tokenizer, count, ranks)
        step()  # the buffer is filled once
        waited, started = 0.0, time.perf_counter()
        for _ in range(job["steps"]):
            compute()
            asked = time.perf_counter()
            step()
            waited += time.perf_counter() - asked
        return waited / (time.perf_counter() - started)

    step_rows = max(1, STEP_TOKENS // job["length"] // RANKS) * RANKS
    return {
        "wait_sleep": share(step_rows, RANKS, lambda: time.sleep(step_rows * job["length"] / job["rate"])),
        "wait_matmul": share(max(1, 4096 // job["length"]), 1, multiply),
    }


def resident(what: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * int(status.read_text(encoding="ascii").split(f"{what}:")[1].split()[0])


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "tokenizer": make_tokenizer,
    "trace": trace,
    "speed": time_rows,
    "wait": time_waiting,
}


# the table


def as_text(report: dict[str, Any]) -> str:
    """A Markdown table, under a line about the text."""
    text, chosen = report["text"], report["settings"]
    head = f"{text['documents']:,} documents of {text['tokens']:,} tokens, {chosen['passes']} passes; "
    head += f"sleeping steps at {chosen['rate']:,.0f} tok/s"
    titles = ("T", "loader", "fill", "lost", "to the reference's", "without beginning", "least possible")
    titles += ("cuts / 100 rows", "rows/s", "M tok/s", "waits: sleep", "matmul", "MB after each pass", "peak")
    table = [titles]
    for row in report["rows"]:
        reference = next(r for r in report["rows"] if (r["length"], r["who"]) == (row["length"], "reference"))
        timed = ("", "", "", "", "", "")
        if "rows_per_s" in row:
            timed = (
                f"{row['rows_per_s']:,.0f}",
                f"{row['tokens_per_s'] / 1e6:.1f}",
                f"{row['wait_sleep']:.2%}",
                f"{row['wait_matmul']:.2%}",
                " ".join(f"{size / 1e6:.0f}" for size in row["memory_bytes"]),
                f"{row['peak_bytes'] / 1e6:.0f}",
            )
        table.append(
            (
                f"{row['length']:,}",
                row["who"],
                f"{row['fill']:.2%}",
                f"{row['lost']:.2%}",
                f"{row['lost'] / reference['lost']:.2f}x" if reference["lost"] else "",
                f"{row['without_beginning']:.2%}",
                f"{row['least_possible']:.2%}",
                f"{row['cuts_per_100_rows']:.0f}",
                *timed,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(titles))]

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            f"{cell:<{width}}" if column == 1 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column == 1 else f"{'-' * (width - 1)}:" for column, width in enumerate(widths)]
    return "\n".join([head, "", line(table[0]), f"| {' | '.join(rule)} |", *map(line, table[1:])])


if __name__ == "__main__":
    main()
