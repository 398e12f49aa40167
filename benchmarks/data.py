"""Importing text against plainly reading the same files, and the memory it takes.

    python benchmarks/data.py                          300 MB of each kind, three rounds: about a minute
    python benchmarks/data.py --megabytes 50 --repeat 1 --json

`import` is the whole stage: read, check, leave out duplicates, shuffle on disk, write and hash the shards, each shard
synced. `plain` is the least that anyone must do to have the text of each document: parquet by pyarrow without making
Python strings, JSON lines by `json.loads` on each line, plain text by iterating over lines. Both run on one core where
that can be chosen, each figure in a process of its own; they take turns, and the best round counts. Seconds are those
of the processor, so that others on the machine and its disk count less; `wall` is by the clock. Memory is the peak
above that of the same process with everything imported.

The text is that of the shards given, again and again with a number behind each document, so that none are equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs import result_of, shards_of, tell

KINDS = ("parquet", "jsonl", "txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=None, help="folder of shards (default: base_data of the test data)"
    )
    parser.add_argument("--megabytes", type=int, default=300, help="text of each kind")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        job = json.loads(args.child)
        tell(run(job))
        return
    shards = shards_of(args.data)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(args, shards, Path(scratch))
    print(json.dumps(report, indent=2) if args.json else as_text(report))


# the parent: who runs when


def measure(args: argparse.Namespace, shards: list[Path], scratch: Path) -> dict[str, Any]:
    text_bytes = write(shards, scratch, args.megabytes * 10**6)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number in range(args.repeat):
        for kind in KINDS:
            for what in ("import", "plain"):
                print(f"round {number + 1} of {args.repeat}: {kind}, {what}", file=sys.stderr)
                found = child({"what": what, "path": str(scratch / f"text.{kind}"), "base": str(scratch / "base")})
                best = rows.setdefault((kind, what), found)
                for name in ("seconds", "wall"):
                    best[name] = min(best[name], found[name])
    table = []
    for kind in KINDS:
        ours, plain = rows[kind, "import"], rows[kind, "plain"]
        table.append(
            {
                "kind": kind,
                "import_mb_per_s": text_bytes / ours["seconds"] / 1e6,
                "import_mb_per_s_wall": text_bytes / ours["wall"] / 1e6,
                "plain_mb_per_s": text_bytes / plain["seconds"] / 1e6,
                "times_plain": ours["seconds"] / plain["seconds"],
                "memory_bytes": ours["memory_bytes"],
                "text_bytes": ours["text_bytes"],
            }
        )
    return {"text_bytes": text_bytes, "repeat": args.repeat, "rows": table}


def write(shards: list[Path], folder: Path, text_bytes: int) -> int:
    """One file of each kind with about this much text; returns the bytes of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [text for shard in shards for text in pq.read_table(shard, columns=["text"])["text"].to_pylist()]
    done = number = 0
    schema = pa.schema([("text", pa.string())])
    with (
        (folder / "text.txt").open("w") as plain,
        (folder / "text.jsonl").open("w") as lines,
        pq.ParquetWriter(folder / "text.parquet", schema, compression="zstd") as table,
    ):
        while done < text_bytes:
            some = [f"{text} {number}\n" for text in texts]
            for at in range(0, len(some), 1024):
                table.write_table(pa.table([some[at : at + 1024]], schema=schema))
            for text in some:
                plain.write(text)
                lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                done += len(text.encode())
            number += 1
    return done


def child(job: dict[str, Any]) -> Any:
    """Run one job in a process of its own."""
    return result_of(__file__, job, job["what"], OMP_NUM_THREADS="1")


def as_text(report: dict[str, Any]) -> str:
    lines = [f"{report['text_bytes'] / 1e6:.0f} MB of text, best of {report['repeat']}", ""]
    lines.append(f"{'from':<9}{'import MB/s':>13}{'wall':>8}{'plain MB/s':>13}{'ratio':>8}{'memory MB':>12}")
    for row in report["rows"]:
        lines.append(
            f"{row['kind']:<9}{row['import_mb_per_s']:>13.0f}{row['import_mb_per_s_wall']:>8.0f}"
            f"{row['plain_mb_per_s']:>13.0f}{row['times_plain']:>8.1f}{row['memory_bytes'] / 1e6:>12.0f}"
        )
    return "\n".join(lines)


# the child: one job


def run(job: dict[str, Any]) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet

    import nanochat.importing.build
    import nanochat.stages.importing  # noqa: F401 - what is imported is no part of the figures

    pa.set_cpu_count(1)
    before = peak_bytes()
    wall, seconds = time.perf_counter(), time.process_time()
    text_bytes = import_(job) if job["what"] == "import" else read(Path(job["path"]))
    return {
        "seconds": time.process_time() - seconds,
        "wall": time.perf_counter() - wall,
        "memory_bytes": peak_bytes() - before,
        "text_bytes": text_bytes,
    }


def import_(job: dict[str, Any]) -> int:
    from nanochat.config.importing import ImportConfig
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import Paths
    from nanochat.stages.importing import import_texts

    with tempfile.TemporaryDirectory(dir=Path(job["path"]).parent) as base:
        context = RunContext(paths=Paths(base=Path(base), cache=Path(base)))
        return import_texts(ImportConfig(), [job["path"]], context, lambda event: None).text_bytes


def read(path: Path) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            return sum(int(file.read_row_group(group, use_threads=False).nbytes) for group in groups)
    with path.open(encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            return sum(len(json.loads(line)["text"]) for line in file)
        return sum(len(line) for line in file)


def peak_bytes() -> int:
    """Of this program; the system's own count may be that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
