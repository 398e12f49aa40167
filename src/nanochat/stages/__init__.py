"""One file per box of the pipeline: a config in, a result out, events on the way.

Read `pretrain` first, then `finetune` (mid and sft), `rl` (with `rollouts`, `rewards` and `practice`), `evaluate`, and
`speedrun`, which strings them together.
"""
