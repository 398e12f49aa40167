"""The report of a run, made from the run's own files and nothing else.

Read `collect` (files to a frozen `RunReport`), then `markdown` (`RunReport` to text). Whatever is missing is
said, never fatal: a report can be asked for at any moment of a run.
"""
