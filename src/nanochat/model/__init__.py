"""The transformer, one file for all of its history.

Read `gpt` (the forward pass), `attention` (its kernel), `init` (starting weights), `sizes` (parameters and FLOPs).
"""
