"""Text to ids and back: the vocabulary, how it is learned, and how conversations become training rows.

Read in this order: `special` (the nine special tokens), `conversation` (messages and their parts),
`tokenizer` (encode, decode, save, load), `render` (conversation to ids and loss mask), `stream` (ids to text
while they arrive), `train` (learn a vocabulary; the work is done in Rust, `crates/rustbpe`), `export` (files of
Hugging Face and tiktoken; `oniguruma` translates the split pattern), `pickled` (the file of the reference system).
"""
