"""Numbers about a model: bits per byte, and accuracy on tasks with its interval; and about a tokenizer: bytes per
token.

Read `interval`, `bpb`, `core`, then `chat` and `paired`; and `passages`, `vocabularies`, `compression`.
"""
