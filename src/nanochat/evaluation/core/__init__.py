"""CORE: 22 tasks that a base model is asked without any chat format (DCLM, arXiv 2406.11794).

Read `bundle` (tasks on disk), `questions` (items to rows of ids), `scoring` (what a scorer is, and the plain one),
`tree` (the fast one), `evaluate` (all tasks) and `result`.
"""
