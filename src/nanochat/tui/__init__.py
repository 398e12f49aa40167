"""Interfaces that take the whole terminal, each in a folder of its own that can be deleted with its command.

`watch` is the dashboard of a run, `chat` a conversation with a model.
"""
