"""Text on disk, and batches made of it.

Read `shards` (what a data set is), `pocket` (the one that needs no network), then `pieces` (documents as
ids, read ahead), `packing` and `loader` (rows).

How files become a data set: `places` (which files), `streams`, `plain`, `rows`, `tables` and `reading` (documents of
every kind), `spill` (their order), `shard_writer`, `importing`. `listing` and `verifying` look at what is there.
"""
