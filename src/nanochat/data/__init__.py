"""Text on disk, and batches made of it.

Read `shards` (what a data set is), `pocket` (the one that needs no network), then `packing` and `loader`.
"""
