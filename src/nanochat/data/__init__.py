"""Text on disk, and batches made of it.

Read `shards` (what a data set is), `pocket` (the one that needs no network), then `pieces` (documents as
ids, read ahead), `packing` and `loader` (rows).
"""
