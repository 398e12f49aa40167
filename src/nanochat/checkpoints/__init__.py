"""A model is a folder: how checkpoints are written, found, checked and described.

Read `layout` (names on disk), `manifest` (what makes a checkpoint whole), `store` (save and load), `selector`
(`d12:sft@650`), `tokenizers` (a tokenizer by name, folder or model), then `listing`. Only `store` touches torch, and
only inside its functions.
"""
