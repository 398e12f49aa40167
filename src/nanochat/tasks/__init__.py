"""What a model is taught in chat and asked in tests: sequences of conversations that grade answers.

Read `task` (the interface), `grading` (what counts as right), `names` and `registry` (every task by its name), then the
tasks: `pocket` (they need no network), `hub`, `rows`, `hub_tasks` and `humaneval` (those whose rows come from the hub),
`spelling`, `user` (a Python file). `programs` runs answers that are code. `views` and `mixture` put tasks together;
`formats`, `records`, `files` and `check` are conversations of your own, `identity` makes some.
"""
