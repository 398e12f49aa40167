"""What any long-running program needs and no language model: paths, files, devices, events, signals.

Read `paths`, `files`, `events`, then `context`, `devices`, `stop`. Several processes: `processes`, and the folder
`launch`. Model-written code: the folder `sandbox`. Nothing here imports torch at module level.
"""
