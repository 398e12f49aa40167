"""Runs Python that a model wrote, without harm to the machine and without being deceived about what it did.

Read `limits` and `result`, then `run` (what callers use), `host` (the process outside), `inside` (the processes
within), `confine` (what they give up), `candidate` and `judge` (who runs the program, and who decides), `peer` and
`wire` (how these two talk), `seatbelt` (macOS). What runs inside says its words with `verdicts`.
"""
