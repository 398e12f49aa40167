"""Conversations that were had, in one SQLite file: a tree of messages each, full-text search, files in and out.

Read in this order: `tree` (what a conversation is), `schema` (how it lies on disk), `store` (reading and writing it),
`search`, `export` and `importing`. Nothing here draws or asks a model.
"""
