"""Our tokenizer and its peers on the same text: training, encoding, memory, and whether they agree.

    python benchmarks/tokenizer.py                     the table that README quotes, some minutes
    python benchmarks/tokenizer.py --shards 1 --vocab-size 4096 --repeat 1
    python benchmarks/tokenizer.py --only ours,rustbpe --json

Every figure comes from a process of its own; systems take turns, round after round, and the best round counts.
Time alone says little about a machine that others use: read the ratios. Memory is the peak of the process
above that of a Python interpreter that does nothing, the text itself included. "same" compares the merges of a
trainer with ours, and the ids of an encoder with tiktoken's.

Rows: `train` is counting and merging of text in memory; `parquet to file` the whole process, from starting
Python to the saved tokenizer; `encode, n threads` all documents as one batch.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs import run_job, tell, text_folder, told

DOC_CAP = 10_000
SPECIALS = 9
TRAINERS = ("ours", "rustbpe", "tokenizers", "gigatoken", "ffbpe")
ENCODERS = ("ours", "tiktoken", "rustbpe", "tokenizers", "gigatoken", "ffbpe")
THREADS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=None, help="folder of shards (default: base_data of the test data)"
    )
    parser.add_argument("--shards", type=int, default=6, help="training shards to read")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--digits", type=int, choices=(2, 3), default=2, help="digits in a chunk: ours 2, GPT-4's 3")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--only", default="", help="systems, separated by commas")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(json.loads(args.child))
        return
    data = text_folder(args.data)
    systems = [*dict.fromkeys((*TRAINERS, *ENCODERS))]
    only = args.only.split(",") if args.only else systems
    if unknown := set(only) - set(systems):
        parser.error(f"no system {min(unknown)!r}; choose from {', '.join(systems)}")
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(args, data, only, Path(scratch))
    report = {"machine": machine(), "settings": settings(args, results), "rows": rows(results)}
    print(json.dumps(report, indent=2) if args.json else as_text(report))


# the parent: who runs when


def measure(args: argparse.Namespace, data: Path, only: list[str], scratch: Path) -> dict[tuple[str, str], Any]:
    """The best result of each (kind, who): a dict, or a line that says why there is none."""
    shards = sorted(data.glob("shard_*.parquet"))
    if len(shards) < 2:
        sys.exit(f"error: no shards in {data}\nhint: give a folder of them with --data")
    train = shards[: min(args.shards, len(shards) - 1)]
    # a base folder for our command: these shards, and the last one, which is for validation
    folder = scratch / "data" / "bench"
    folder.mkdir(parents=True)
    for path in [*train, shards[-1]]:
        (folder / path.name).symlink_to(path.resolve())
    common = {"scratch": str(scratch), "shards": [str(path) for path in train], "vocab_size": args.vocab_size}
    common["digits"] = args.digits
    results: dict[tuple[str, str], Any] = {("bare", "python"): child({**common, "kind": "bare", "who": "python"})}
    results["ranks", "ours"] = child({**common, "kind": "ranks", "who": "ours"})

    jobs = [("train", who, 0) for who in TRAINERS] + [("parquet to file", who, 0) for who in TRAINERS]
    jobs += [(f"encode, {n} thread{'' if n == 1 else 's'}", who, n) for n in THREADS for who in ENCODERS]
    jobs = [job for job in jobs if job[1] in only]
    for round_ in range(args.repeat):
        for kind, who, threads in jobs:
            if who != "ours" and find_spec(who) is None:
                results[kind, who] = "not installed"
                continue
            print(f"round {round_ + 1} of {args.repeat}: {kind}, {who}", file=sys.stderr)
            found = child({**common, "kind": kind, "who": who, "threads": threads})
            before = results.get((kind, who))
            if not isinstance(before, dict) or (isinstance(found, dict) and found["seconds"] < before["seconds"]):
                results[kind, who] = found
    # what ids should be; gigatoken only knows digits in threes
    for digits in {args.digits, 3}:
        results["reference", str(digits)] = child(
            {**common, "digits": digits, "kind": "encode", "who": "tiktoken", "threads": 2, "passes": 1}
        )
    return results


def child(job: dict[str, Any]) -> Any:
    """Run one job in a process of its own; its result, or one line about what went wrong."""
    environ = {"TOKENIZERS_PARALLELISM": "true", "PYTHONWARNINGS": "ignore"}
    if job.get("threads"):
        environ["RAYON_NUM_THREADS"] = str(job["threads"])
    started = time.perf_counter()
    done = run_job(__file__, job, **environ)
    wall = time.perf_counter() - started
    if result := told(done):
        if job["kind"] == "parquet to file":
            result["seconds"] = wall
        return result
    return "failed: " + ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1][:100]


# the child: one job


def run_child(job: dict[str, Any]) -> None:
    kind = job["kind"].split(",")[0]
    functions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "bare": lambda job: {},
        "ranks": make_ranks,
        "train": time_training,
        "parquet to file": whole_process,
        "encode": time_encoding,
    }
    result = functions[kind](job)
    tell({**result, "peak_bytes": peak_bytes()})


def peak_bytes() -> int:
    """The greatest resident size of this process. `ru_maxrss` would count that of whoever started it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def documents(job: dict[str, Any]) -> Iterator[str]:
    """The documents, cut as our trainer cuts them."""
    import pyarrow.parquet as pq

    for path in job["shards"]:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            for text in file.read_row_group(group, columns=["text"]).column("text").to_pylist():
                yield (text or "")[:DOC_CAP]


def pattern_of(job: dict[str, Any]) -> str:
    from nanochat.tokenizer.special import PATTERN

    return PATTERN.replace("{1,2}", f"{{1,{job['digits']}}}")


def ranks_folder(job: dict[str, Any]) -> Path:
    return Path(job["scratch"]) / "ranks"


def make_ranks(job: dict[str, Any]) -> dict[str, Any]:
    """The vocabulary that every encoder gets, ours, and the size of the text."""
    from nanochat.tokenizer.train import train_tokenizer

    texts = list(documents(job))
    tokenizer = train_tokenizer(texts, job["vocab_size"], pattern=pattern_of(job))
    tokenizer.save(ranks_folder(job))
    tokens = sorted(tokenizer.ranks(), key=tokenizer.ranks().__getitem__)
    return {
        "text_bytes": sum(len(text.encode()) for text in texts),
        "documents": len(texts),
        "digits": job["digits"],
        "tokens": [token.hex() for token in tokens if len(token) > 1],
    }


def trained(seconds: float, tokens: list[bytes], **parts: float) -> dict[str, Any]:
    """`tokens` in the order of their ids; single bytes are left out, whose order is a matter of taste."""
    return {"seconds": seconds, "tokens": [token.hex() for token in tokens if len(token) > 1], "parts": parts}


def time_training(job: dict[str, Any]) -> dict[str, Any]:
    texts = list(documents(job))
    return TRAIN[job["who"]](job, texts)


def train_ours(job: dict[str, Any], texts: Any) -> dict[str, Any]:
    from nanochat.tokenizer.train import train_tokenizer

    counted = 0.0

    def progress(at: Any) -> None:
        nonlocal counted
        if at.phase == "read":
            counted = time.perf_counter()

    started = time.perf_counter()
    tokenizer = train_tokenizer(texts, job["vocab_size"], pattern=pattern_of(job), on_progress=progress)
    ended = time.perf_counter()
    ranks = tokenizer.ranks()
    return trained(
        ended - started, sorted(ranks, key=ranks.__getitem__), count=counted - started, merge=ended - counted
    )


def train_rustbpe(job: dict[str, Any], texts: Any) -> dict[str, Any]:
    import rustbpe

    started = time.perf_counter()
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), job["vocab_size"] - SPECIALS, pattern=pattern_of(job))
    seconds = time.perf_counter() - started
    ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])
    return trained(seconds, [bytes(token) for token, _ in ranks])


def train_tokenizers(job: dict[str, Any], texts: Any) -> dict[str, Any]:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    started = time.perf_counter()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern_of(job)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=job["vocab_size"] - SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    seconds = time.perf_counter() - started
    if job["kind"] == "parquet to file":
        tokenizer.save(str(Path(job["scratch"]) / "tokenizers.json"))
    vocab = tokenizer.get_vocab()
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    byte_of = {chr(byte): byte for byte in seen} | {chr(0x100 + at): byte for at, byte in enumerate(unseen)}
    return trained(seconds, [bytes(map(byte_of.__getitem__, token)) for token in sorted(vocab, key=vocab.__getitem__)])


def train_gigatoken(job: dict[str, Any], texts: Any) -> dict[str, Any]:
    import gigatoken

    size = job["vocab_size"] - SPECIALS
    if job["kind"] == "parquet to file":  # it reads parquet itself
        source, separator = gigatoken.ParquetFileSource(job["shards"]), None
    else:
        source, separator = "\0".join(texts).encode(), b"\0"
    started = time.perf_counter()
    vocab, _ = gigatoken.train_bpe(source, size, [], separator=separator)
    return trained(time.perf_counter() - started, [vocab[key] for key in sorted(vocab)])


def train_ffbpe(job: dict[str, Any], texts: Any) -> dict[str, Any]:
    import ffbpe

    started = time.perf_counter()
    counter = ffbpe.PreTokenizer([], pat_str=pattern_of(job)).word_counter()
    counter.add_source(texts)
    counted = time.perf_counter()
    trainer = ffbpe.BpeTrainer([])
    trainer.add_word_counter(counter)
    trainer.train(job["vocab_size"] - SPECIALS)
    ended = time.perf_counter()
    vocab = trainer.validate_model().vocab
    tokens = sorted(vocab, key=vocab.__getitem__)
    return trained(ended - started, tokens, count=counted - started, merge=ended - counted)


TRAIN = {
    "ours": train_ours,
    "rustbpe": train_rustbpe,
    "tokenizers": train_tokenizers,
    "gigatoken": train_gigatoken,
    "ffbpe": train_ffbpe,
}


def whole_process(job: dict[str, Any]) -> dict[str, Any]:
    """From parquet to a saved tokenizer; the parent takes the time. Ours is our command."""
    if job["who"] == "ours":
        from nanochat.cli import main

        words = ["tokenizer", "train", "--name", "bench", "--data", "bench", "--base-dir", job["scratch"]]
        saved = Path(job["scratch"]) / "tokenizers" / "bench"
        (saved / "trained.json").unlink(missing_ok=True)  # else nothing would be left to do
        # the vocabulary is that of the other rows; our command splits digits in twos only
        code = main([*words, "--vocab-size", str(job["vocab_size"]), "--doc-cap", str(DOC_CAP)])
        assert code == 0, f"nanochat ended with {code}"
        lines = (saved / "ranks.tiktoken").read_text(encoding="ascii").splitlines()
        return trained(0.0, [base64.b64decode(line.split()[0]) for line in lines])
    result = TRAIN[job["who"]](job, documents(job))
    Path(job["scratch"], f"{job['who']}.txt").write_text("\n".join(result["tokens"]), encoding="ascii")
    return {**result, "parts": {}}


def time_encoding(job: dict[str, Any]) -> dict[str, Any]:
    texts = list(documents(job))
    encode, flatten = ENCODE[job["who"]](job, texts)
    encode(texts[: len(texts) // 100 + 1])  # caches and threads
    seconds, spent, encoded = float("inf"), 0.0, None
    for _ in range(job.get("passes", 3)):
        encoded = None  # the memory of one pass
        started = time.perf_counter()
        encoded = encode(texts)
        seconds = min(seconds, time.perf_counter() - started)
        spent += time.perf_counter() - started
        if spent > 5.0:
            break
    peak = peak_bytes()
    ids, lengths = flatten(encoded)
    digest = hashlib.sha256(ids.astype("<u4").tobytes() + lengths.astype("<i8").tobytes()).hexdigest()
    return {"seconds": seconds, "ids": digest, "count": len(ids), "peak": peak}


def of_lists(encoded: Any) -> tuple[Any, Any]:
    import itertools

    import numpy as np

    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    ids = np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.uint32, count=int(lengths.sum()))
    return ids, lengths


def load_ours(job: dict[str, Any]) -> Any:
    from nanochat.tokenizer.tokenizer import Tokenizer

    return Tokenizer(Tokenizer.load(ranks_folder(job)).ranks(), pattern_of(job))


def encode_ours(job: dict[str, Any], texts: list[str]) -> Any:
    import numpy as np

    tokenizer = load_ours(job)
    if hasattr(tokenizer, "encode_arrays"):
        return (
            lambda texts: tokenizer.encode_arrays(texts, job["threads"]),
            lambda encoded: (np.asarray(encoded[0]), np.diff(encoded[1])),
        )
    return lambda texts: tokenizer.encode_batch(texts, job["threads"]), of_lists


def encode_tiktoken(job: dict[str, Any], texts: list[str]) -> Any:
    import tiktoken

    ranks = load_ours(job).ranks()
    encoding = tiktoken.Encoding("bench", pat_str=pattern_of(job), mergeable_ranks=ranks, special_tokens={})
    return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=job["threads"]), of_lists


def encode_rustbpe(job: dict[str, Any], texts: list[str]) -> Any:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()  # it cannot load ranks, so it learns them
    tokenizer.train_from_iterator(iter(texts), job["vocab_size"] - SPECIALS, pattern=pattern_of(job))
    return tokenizer.batch_encode, of_lists


def encode_tokenizers(job: dict[str, Any], texts: list[str]) -> Any:
    from tokenizers import Tokenizer

    from nanochat.tokenizer.export import hugging_face_files

    tokenizer = Tokenizer.from_str(hugging_face_files(load_ours(job))["tokenizer.json"].decode())
    tokenizer.encode_special_tokens = True
    return (
        lambda texts: tokenizer.encode_batch_fast(texts, add_special_tokens=False),
        lambda encoded: of_lists([one.ids for one in encoded]),
    )


def encode_gigatoken(job: dict[str, Any], texts: list[str]) -> Any:
    import awkward
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(ranks_folder(job) / "ranks.tiktoken", "gpt4", {})
    return (
        lambda texts: tokenizer.encode_batch(texts, parallel=job["threads"] > 1),
        lambda encoded: (awkward.flatten(encoded).to_numpy(), awkward.num(encoded).to_numpy()),
    )


def encode_ffbpe(job: dict[str, Any], texts: list[str]) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    from ffbpe.encoder import BpeEncoder

    from nanochat.tokenizer.export import merges_of

    ranks = load_ours(job).ranks()
    # its `tiktoken` module guesses merges from ranks and gives other ids; told the merges, it agrees
    encoder = BpeEncoder("byte", merges=merges_of(ranks), vocab=ranks, pat_str=pattern_of(job))
    if job["threads"] == 1:
        return lambda texts: [encoder.encode_to_numpy(text) for text in texts], of_lists
    pool = ThreadPoolExecutor(job["threads"])
    return lambda texts: list(pool.map(encoder.encode_to_numpy, texts)), of_lists


ENCODE = {
    "ours": encode_ours,
    "tiktoken": encode_tiktoken,
    "rustbpe": encode_rustbpe,
    "tokenizers": encode_tokenizers,
    "gigatoken": encode_gigatoken,
    "ffbpe": encode_ffbpe,
}


# the table


def rows(results: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    """Figures and ratios to ours: above 1 is slower, or takes more memory."""
    bare = results["bare", "python"]["peak_bytes"]
    text_bytes = results["ranks", "ours"]["text_bytes"]
    made = []
    for (kind, who), found in results.items():
        if kind in ("bare", "ranks", "reference"):
            continue
        row: dict[str, Any] = {"what": kind, "who": who}
        if not isinstance(found, dict):
            made.append({**row, "note": found})
            continue
        ours = results.get((kind, "ours"))
        memory = found.get("peak", found["peak_bytes"]) - bare
        row |= {"seconds": found["seconds"], "mb_per_s": text_bytes / found["seconds"] / 1e6, "memory_bytes": memory}
        if isinstance(ours, dict):
            row["time_ratio"] = found["seconds"] / ours["seconds"]
            row["memory_ratio"] = memory / (ours.get("peak", ours["peak_bytes"]) - bare)
        made.append({**row, **agreement(kind, who, found, results)})
    return made


def agreement(kind: str, who: str, found: dict[str, Any], results: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """Whether merges or ids are the same, and a note."""
    if found.get("tokens"):
        ours = results.get((kind, "ours"))
        expected = ours["tokens"] if isinstance(ours, dict) else results["ranks", "ours"]["tokens"]
        notes = [f"{name} {seconds:.2f} s" for name, seconds in found["parts"].items()]
        shared = len(set(found["tokens"]) & set(expected)) / len(expected)
        same = found["tokens"] == expected
        if not same:
            notes.append("same tokens in another order" if shared == 1 else f"{shared:.1%} of the tokens")
        return {"same": same, "parts": found["parts"], "note": ", ".join(notes)}
    digits = results["ranks", "ours"]["digits"]
    used = 3 if who == "gigatoken" else digits
    reference = results["reference", str(used)]
    same = isinstance(reference, dict) and found["ids"] == reference["ids"]
    return {"same": same, "note": "" if used == digits else "with digits in threes"}


def settings(args: argparse.Namespace, results: dict[tuple[str, str], Any]) -> dict[str, Any]:
    text = results["ranks", "ours"]
    return {
        "vocab_size": args.vocab_size,
        "digits": args.digits,
        "repeat": args.repeat,
        "text_bytes": text["text_bytes"],
        "documents": text["documents"],
        "bare_bytes": results["bare", "python"]["peak_bytes"],
    }


def machine() -> dict[str, Any]:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    versions = {}
    for name in dict.fromkeys((*TRAINERS, *ENCODERS)):
        try:
            versions[name] = version("nanochat" if name == "ours" else name)
        except PackageNotFoundError:
            versions[name] = None
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "versions": versions}


def as_text(report: dict[str, Any]) -> str:
    """A Markdown table under a line about the machine."""
    chosen, cpu = report["settings"], report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in cpu["versions"].items() if number and name != "ours")
    text = f"{chosen['text_bytes'] / 1e6:.1f} MB in {chosen['documents']:,} documents"
    how = f"vocabulary {chosen['vocab_size']:,}, best of {chosen['repeat']}"
    head = f"{text}, {how}; {cpu['cores']} cores of {cpu['cpu']}; Python {cpu['python']}, {versions}"
    table = [("what", "who", "seconds", "MB/s", "time to ours", "memory MB", "to ours", "same", "note")]
    for row in report["rows"]:
        if "seconds" not in row:
            table.append((row["what"], row["who"], "", "", "", "", "", "", row["note"]))
            continue
        table.append(
            (
                row["what"],
                row["who"],
                f"{row['seconds']:.2f}",
                f"{row['mb_per_s']:.1f}",
                f"{row['time_ratio']:.2f}x" if "time_ratio" in row else "",
                f"{row['memory_bytes'] / 1e6:.0f}",
                f"{row['memory_ratio']:.2f}x" if "memory_ratio" in row else "",
                {True: "yes", False: "no", None: ""}[row.get("same")],
                row["note"],
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    right = range(2, 7)

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}:" if column in right else "-" * width for column, width in enumerate(widths)]
    return "\n".join([head, "", line(table[0]), f"| {' | '.join(rule)} |", *map(line, table[1:])])


if __name__ == "__main__":
    main()
