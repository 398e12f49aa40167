"""One file per box of the pipeline: a config in, a result out, events on the way.

Read `pretrain` first, then `midtrain` and `sft`, `evaluate`, and `speedrun`, which strings them together.
"""
