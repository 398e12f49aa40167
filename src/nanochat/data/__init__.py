"""Text on disk, and batches made of it.

Read `manifest`, `shards` and `dataset` (what a data set is), `sources` and `pocket` (two kinds of them), `listing` and
`verifying` (what is there, and whether it is whole); then `passes` and `pieces` (documents as ids, read ahead),
`mixture` and `mixing` (several data sets), `packing` and `loader` (rows).
"""
