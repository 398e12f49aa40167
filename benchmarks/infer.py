"""Decoding of the same weights, four ways: the network of training in float32, and ours in each number format.

    python benchmarks/infer.py                    the table that docs/inference.md quotes: depth 12, vocabulary 32,768
    python benchmarks/infer.py --depth 2 --head-dim 32 --vocab-size 300 --prompt-tokens 20 --new-tokens 6 --rounds 1
    python benchmarks/infer.py --what turns       time to first token of a later turn, and of its new part alone
    python benchmarks/infer.py --what lookup      time of an answer with and without guessing

"eager float32" is `nanochat.model.gpt.GPT` as training leaves it, with our cache: what decoding costs without any of
this project's work on it. All have the same weights and prompts; they take turns, round after round, and the best step
of all rounds counts, so that other programs on the machine disturb all alike. Read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import torch

from nanochat.config.bench import BenchInferConfig
from nanochat.config.chat import SamplingConfig
from nanochat.config.model import ModelConfig
from nanochat.engine.engine import Engine
from nanochat.engine.model import LanguageModel
from nanochat.engine.network import Network
from nanochat.model.gpt import GPT
from nanochat.runtime.devices import cpu_name
from nanochat.stages.bench_infer import Timed, byte_tokenizer, measure, read_bandwidth

CPU = torch.device("cpu")
EAGER = "eager float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--what", choices=("speed", "turns", "lookup"), default="speed")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--batch-sizes", default="1,8")
    parser.add_argument("--threads", type=int, default=0, help="0 uses every core")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
    names = ("depth", "head_dim", "vocab_size", "prompt_tokens", "new_tokens", "batch_sizes")
    config = BenchInferConfig(**{name: getattr(args, name) for name in names})
    torch.manual_seed(0)
    with torch.inference_mode():
        trained = GPT(config.model()).eval().requires_grad_(False)
    rows = {"speed": speed, "turns": turns, "lookup": lookup}[args.what](trained, config, args.rounds)
    settings = {name: getattr(config, name) for name in names}
    report = {"machine": f"{cpu_name()}, {torch.get_num_threads()} threads", "settings": settings, "rows": rows}
    print(json.dumps(report, indent=2) if args.json else as_text(report))


def speed(trained: GPT, config: BenchInferConfig, rounds: int) -> list[dict[str, Any]]:
    """Decoding and reading, by way and batch size."""
    state = trained.state_dict()
    ways: dict[str, LanguageModel] = {
        EAGER: trained,
        "ours, float32": network(trained.config, state, torch.float32),
        "ours, bfloat16": network(trained.config, state, torch.bfloat16),
        "ours, int8": network(trained.config, state, torch.int8),
    }
    bandwidth = read_bandwidth("cpu") or 0.0
    rows = []
    for batch in config.batches():
        steps = dict.fromkeys(ways, float("inf"))
        firsts, overheads = dict(steps), dict(steps)
        for _ in range(rounds):
            for way, model in ways.items():
                _, first_s, times = measure(Timed(model, "cpu"), byte_tokenizer(), config, batch)
                steps[way] = min(steps[way], *(whole for whole, _ in times))
                firsts[way] = min(firsts[way], first_s)
                overheads[way] = min(overheads[way], *(whole - inside for whole, inside in times))
        rows += [
            {
                "batch": batch,
                "way": way,
                "decode_tokens_per_s": batch / steps[way],
                "of_eager": steps[EAGER] / steps[way],
                "of_bfloat16": steps["ours, bfloat16"] / steps[way],
                "first_token_ms": 1e3 * firsts[way],
                "overhead_ms": 1e3 * overheads[way],
                "bandwidth_gb_per_s": bandwidth / 1e9,
            }
            for way in ways
        ]
    return rows


def turns(trained: GPT, config: BenchInferConfig, rounds: int) -> list[dict[str, Any]]:
    """Time to the first token of a prompt that goes on behind a long text, and of its new part alone."""
    model = network(trained.config, trained.state_dict(), torch.float32)
    ids = torch.randint(0, config.vocab_size, (2048,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = []
    for new in (16, 128):
        for before in (256, 1024):
            took = {"later turn": float("inf"), "new part alone": float("inf")}
            for _ in range(rounds):
                engine = quiet_engine(model, rows=2)
                list(engine.generate(ids[:before], SamplingConfig(temperature=0, max_new_tokens=1)))
                took["later turn"] = min(took["later turn"], first_token(engine, ids[: before + new]))
                engine.forget()
                took["new part alone"] = min(took["new part alone"], first_token(engine, ids[:new]))
            rows.append(
                {
                    "before": before,
                    "new": new,
                    **{f"{name} ms": 1e3 * seconds for name, seconds in took.items()},
                    "ratio": took["later turn"] / took["new part alone"],
                }
            )
    return rows


def lookup(trained: GPT, config: BenchInferConfig, rounds: int) -> list[dict[str, Any]]:
    """An answer whose every token can be guessed: the model's own, which for random weights soon repeats itself."""
    prompt = list(range(60, 92)) * 4
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        model = network(trained.config, trained.state_dict(), dtype)
        took, answers = dict.fromkeys((True, False), float("inf")), {}
        for _ in range(rounds):
            for guess in took:
                engine = quiet_engine(model, rows=1, lookup=guess)
                began = time.perf_counter()
                sampling = SamplingConfig(temperature=0, max_new_tokens=8 * config.new_tokens)
                answers[guess] = [step.token for step in engine.generate(prompt, sampling)]
                took[guess] = min(took[guess], time.perf_counter() - began)
        rows.append(
            {
                "dtype": str(dtype).removeprefix("torch."),
                "same": answers[True] == answers[False],
                "different tokens": len(set(answers[False])),
                "speedup": took[False] / took[True],
            }
        )
    return rows


def network(shape: ModelConfig, state: dict[str, torch.Tensor], dtype: torch.dtype) -> Network:
    """The weights in one number format."""
    int8 = dtype == torch.int8
    return Network(shape, state, CPU, torch.bfloat16 if int8 else dtype, int8=int8)


def quiet_engine(model: LanguageModel, *, rows: int, lookup: bool = False) -> Engine:
    """An engine that no token stops."""
    engine = Engine(model, byte_tokenizer(), rows=rows, lookup=lookup, tool=None)
    engine.stop_tokens = frozenset()
    return engine


def first_token(engine: Engine, prompt: list[int]) -> float:
    """Seconds to the first token."""
    began = time.perf_counter()
    list(engine.generate(prompt, SamplingConfig(temperature=0, max_new_tokens=1)))
    return time.perf_counter() - began


def as_text(report: dict[str, Any]) -> str:
    """A table of all rows."""
    names = list(report["rows"][0])
    lines = [report["machine"], "  ".join(f"{name:>20}" for name in names)]
    for row in report["rows"]:
        cells = (f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("  ".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
