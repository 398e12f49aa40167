"""sft on preferences: pairs of a better and a worse answer, by DPO; see `training.preferences` for the loss.

What the starting model makes of every pair is computed before the first step and kept beside the checkpoints
(`reference.json`), so that a run that goes on needs the starting model no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nanochat.checkpoints.layout import read_json
from nanochat.config.train import SftConfig
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, StageProgress
from nanochat.runtime.files import atomic_write_json
from nanochat.stages.folder import StageResult
from nanochat.stages.pairs import PairData, file_hashes, open_pairs
from nanochat.stages.run import StageRun
from nanochat.stages.scoring import scoring_of
from nanochat.stages.start import finetune_dials, model_of, place_of, prepare, source_of, start_of, starting_model
from nanochat.training.batches import Prepared, Share
from nanochat.training.loop import to_device
from nanochat.training.preference_objective import PreferenceObjective
from nanochat.training.preferences import PairBatch, PairPacker, answer_logprobs, common_length, pair_logprobs

REFERENCE = "reference.json"


def prefer(config: SftConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train on pairs of answers, starting from the model before, or go on where this run stood.

    Raises:
        MissingError: no model to start from, or no file.
        ConversationError: the file has bad lines.
        UsageError, Interrupted, DivergedError: as in `finetune`.
    """
    run = StageRun(context, "sft", config, on_event)
    with run.owned():
        hashes = file_hashes(config)
        if result := run.finished(hashes):
            return result
        resumed = run.resume()
        start = resumed or starting_model(run, config)
        place = place_of(run, start, resumed, source_of(run, config))
        tokenizer = start.tokenizer
        model, row_len = model_of(start, config)
        data = open_pairs(run, config, tokenizer, row_len)
        length = common_length([*data.train, *data.validation], row_len)
        # a batch is as many pairs as fill its tokens with whole rows, though shorter ones may do
        step_pairs = max(1, (config.total_batch_size or int(start.state["total_batch_size"])) // (2 * row_len))
        batch_tokens = step_pairs * 2 * length
        config.micro_steps(2 * row_len, step_pairs * 2 * row_len, context.world_size)
        steps = config.num_steps or max(1, round(config.epochs * len(data.train) / step_pairs))
        run.at_start(f"batch: {step_pairs:,} pairs, each in two rows of {length:,} tokens; {steps:,} steps")
        scoring = scoring_of(config, context.paths)
        optimizer, inherited = prepare(
            run, config, start, model, resumed, batch_tokens=batch_tokens, steps=steps, row_len=2 * length
        )
        lost = place if resumed else ""
        reference = _reference(run, config, model, data, length, tokenizer.bos, hashes, lost)
        objective = PreferenceObjective(
            model=model,
            logprobs=answer_logprobs(model, use_compile=run.context.compile),
            reference=reference,
            held_out=data.batches(range(len(data.train), len(data.all)), length, tokenizer.bos, run.device_batch.rows),
            beta=config.beta,
            chosen_weight=config.chosen_weight,
            device=context.device,
            processes=context.processes,
        )
        packer = PairPacker(
            data.train,
            length,
            pad=tokenizer.bos,
            seed=config.seed,
            state=resumed.state["loader"] if resumed else None,
            share=Share(context.processes.rank, context.world_size),
        )
        start.forget_tensors()
        return run.train(
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            source=Prepared(packer),
            resumed=resumed,
            total_steps=steps,
            total_batch_size=int(start.state["total_batch_size"]),
            dials=finetune_dials(config, steps),
            validation=[],
            data={**data.record(config, hashes), "start": place},
            inherited=inherited,
            objective=objective,
            scoring=scoring,
        )


def _reference(
    run: StageRun,
    config: SftConfig,
    model: GPT,
    data: PairData,
    length: int,
    pad: int,
    hashes: Mapping[str, str],
    begun_with: str,
) -> Tensor:
    """What the starting model makes of every pair: kept from the start of the run, or computed.

    Args:
        model: in its place; the starting model itself when the run begins.
        begun_with: the starting model, where the run goes on and `model` is no longer that; "" where it begins.
    """
    path = run.folder / REFERENCE
    key = f"{length} {' '.join(hashes.values())}"
    context = run.context
    kept = context.processes.first_does(lambda: _read(path, key, len(data.all)) if begun_with else None)
    if kept is None:
        if begun_with:  # the file was lost
            start = start_of(run, begun_with)
            run.at_start(f"the pairs are read with {begun_with} once more: {path.name} is not there")
            model, _ = model_of(start, config)
            model.to(context.device).compute_in(getattr(torch, context.dtype))
        kept = _measured(run, model, data.batches(range(len(data.all)), length, pad, run.device_batch.rows))
        values = kept
        context.processes.first_does(lambda: atomic_write_json(path, {"pairs": key, "log_ratios": values}))
    return torch.tensor(kept, dtype=torch.float32, device=context.device)


@torch.no_grad()
def _measured(run: StageRun, model: GPT, batches: Sequence[PairBatch]) -> list[float]:
    """Log ratios of all pairs in order, shared out among the processes."""
    logprobs, processes = answer_logprobs(model), run.context.processes
    values: list[float] = []
    told_every = -(-len(batches) // 20)
    for number, batch in enumerate(batches):
        if number % processes.world_size != processes.rank:
            values += [0.0] * len(batch.ids)
            continue

        def read(rows: int, batch: PairBatch = batch) -> list[float]:
            return [
                value
                for part in batch.parts(rows)
                for value in pair_logprobs(
                    logprobs, *(to_device(rows, run.context.device) for rows in (part.ids, part.targets))
                )[0].tolist()
            ]

        values += run.device_batch.attempt(read)
        if number % told_every == 0:
            done = StageProgress(
                stage=run.stage, done=number + 1, total=len(batches), unit="batches", detail="reading pairs"
            )
            run.on_event(done)
    return processes.total(values)


def _read(path: Path, key: str, count: int) -> list[float] | None:
    """The values in a file, None when it is not there or of other pairs."""
    found = read_json(path) or {}
    values = found.get("log_ratios")
    return values if found.get("pairs") == key and isinstance(values, list) and len(values) == count else None
