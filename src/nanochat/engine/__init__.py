"""Inference: prompts in, tokens and text out.

Read `sampling`, `cache`, `calculator` and `tools`, then `engine` (tokens), `session` (a conversation) and
`load` (from a selector to an engine).
"""
