"""What any long-running program needs and no language model: paths, files, devices, events, signals.

Read `paths`, `files`, `events`, then `context`, `devices`, `stop`. Nothing here imports torch at module level.
"""
