"""Files of one's own: read whatever they are, and made a data set.

Read `places` (which files), `streams` (their characters), `plain`, `rows` and `tables` (documents of each kind),
`columns`, `losses` (what could not be read) and `reading`, which joins them; `texts` gives a tokenizer its batches. A
data set comes of `spill` (the order of documents), `writer` (shards) and `build`.
"""
