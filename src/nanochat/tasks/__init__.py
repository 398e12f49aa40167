"""What a model is taught in chat and asked in tests: sequences of conversations that grade answers.

Read `task` (the interface), `grading` (what counts as right), `pocket` (the tasks that need no network),
`formats`, `records` and `files` (conversations of your own), `identity`, `mixture`.
"""
