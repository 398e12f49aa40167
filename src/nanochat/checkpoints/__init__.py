"""A model is a folder: how checkpoints are written, found, checked and described.

Read `layout` (names on disk), `manifest` (what makes a checkpoint whole), `store` (save and load), `selector`
(`d12:sft@650`), `tokenizers` (a tokenizer by name, folder or model), then `listing`; `upstream` takes over checkpoints
of the reference system. Only `store` and `upstream` touch torch, and only inside their functions.
"""
