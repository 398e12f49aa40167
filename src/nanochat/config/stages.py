"""The training stages a model can go through, in order."""

STAGES = ("base", "mid", "sft", "rl")
