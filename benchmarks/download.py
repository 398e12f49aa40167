"""Downloads on loopback with 8 workers, against a plain copy of one socket to a file.

    python benchmarks/download.py                      eight files of 200 MB, three rounds: half a minute
    python benchmarks/download.py --size 50M --json

`ours` fetches the files with `fetch_files`, every byte hashed and the files made durable (fsync). `plain copy` reads
one socket into one buffer and writes that to a file, one file after the other; `plain copy, hashed` also feeds it to
SHA-256, which is the least that a checked download can cost. The server is another process that hands whole files to
the kernel (sendfile), so most of what it costs is copying memory.

Each way runs in a process of its own: `cpu_s` is that process's time on all cores, `rss_bytes` its peak. `per core` is
bytes per second of that time. Ways take turns, the best round of each counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

WAYS = ("ours", "plain copy", "plain copy, hashed")
BUFFER = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--size", type=int, default=200_000_000, help="bytes of a file")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(json.loads(args.child))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        report = measure(args, Path(scratch))
    print(json.dumps(report, indent=2) if args.json else as_text(report))


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The best round of every way."""
    blob = scratch / "blob"
    block = os.urandom(BUFFER)
    with blob.open("wb") as file:
        for _ in range(0, args.size, BUFFER):
            file.write(block)
        file.truncate(args.size)
    server = subprocess.Popen([sys.executable, __file__, "--child", json.dumps({"serve": str(blob)})], stdout=-1)
    assert server.stdout is not None
    job = {
        "port": int(server.stdout.readline()),
        "files": args.files,
        "size": args.size,
        "workers": args.workers,
        "sha256": sha256_of(blob),
        "folder": str(scratch / "out"),
    }
    best: dict[str, dict[str, Any]] = {}
    try:
        for _ in range(args.repeat):
            for way in WAYS:
                child = [sys.executable, __file__, "--child", json.dumps({**job, "way": way})]
                done = subprocess.run(child, stdout=subprocess.PIPE, check=True, text=True)
                row = json.loads(done.stdout)
                if way not in best or row["seconds"] < best[way]["seconds"]:
                    best[way] = {"way": way, **row}
                shutil.rmtree(scratch / "out")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    total = args.files * args.size
    for row in best.values():
        row["mb_per_s"] = total / row["seconds"] / 1e6
        row["mb_per_s_per_core"] = total / row["cpu_s"] / 1e6
    for row in best.values():
        for name in ("mb_per_s", "mb_per_s_per_core"):
            row[f"{name}_of_plain_copy"] = row[name] / best["plain copy"][name]
            row[f"{name}_of_hashed_copy"] = row[name] / best["plain copy, hashed"][name]
    settings = {"files": args.files, "size_bytes": args.size, "workers": args.workers, "cores": os.cpu_count()}
    return {"settings": settings, "rows": [best[way] for way in WAYS]}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # in pieces: children inherit the peak of memory


def as_text(report: dict[str, Any]) -> str:
    """A table for people."""
    settings = report["settings"]
    lines = [
        f"{settings['files']} files of {settings['size_bytes'] / 1e6:.0f} MB, {settings['workers']} workers, "
        f"{settings['cores']} cores",
        f"{'way':<20}{'MB/s':>8}{'of plain':>10}{'of hashed':>11}{'per core':>10}{'of plain':>10}"
        f"{'of hashed':>11}{'memory':>10}",
    ]
    for row in report["rows"]:
        lines.append(
            f"{row['way']:<20}{row['mb_per_s']:>8.0f}{row['mb_per_s_of_plain_copy']:>10.0%}"
            f"{row['mb_per_s_of_hashed_copy']:>11.0%}{row['mb_per_s_per_core']:>10.0f}"
            f"{row['mb_per_s_per_core_of_plain_copy']:>10.0%}{row['mb_per_s_per_core_of_hashed_copy']:>11.0%}"
            f"{row['rss_bytes'] / 1e6:>7.0f} MB"
        )
    return "\n".join(lines)


# the children


def run_child(job: dict[str, Any]) -> None:
    if "serve" in job:
        serve(Path(job["serve"]))
        return
    Path(job["folder"]).mkdir()
    fetch = ours if job["way"] == "ours" else plain
    started, cpu = time.perf_counter(), time.process_time()
    fetch(job)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    unit = 1 if sys.platform == "darwin" else 1024
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "rss_bytes": rss}))


def ours(job: dict[str, Any]) -> None:
    from nanochat.runtime.download import FileRequest, fetch_files

    fetch_files(
        [
            FileRequest(
                url=f"http://127.0.0.1:{job['port']}/{number}",
                target=Path(job["folder"]) / str(number),
                size_bytes=job["size"],
                sha256=job["sha256"],
            )
            for number in range(job["files"])
        ],
        workers=job["workers"],
    )


def plain(job: dict[str, Any]) -> None:
    buffer = memoryview(bytearray(BUFFER))
    for number in range(job["files"]):
        digest = hashlib.sha256()
        with (
            socket.create_connection(("127.0.0.1", job["port"])) as connection,
            (Path(job["folder"]) / str(number)).open("wb", buffering=0) as file,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            while count := connection.recv_into(buffer):
                file.write(buffer[:count])
                if "hashed" in job["way"]:
                    digest.update(buffer[:count])


def serve(blob: Path) -> None:
    """Answer every request with the file."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    size = blob.stat().st_size

    def answer(connection: socket.socket) -> None:
        with connection, blob.open("rb") as file:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
            connection.sendfile(file)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
