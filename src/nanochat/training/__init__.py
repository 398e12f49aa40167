"""What every training stage shares: the optimizer, its schedules, and the loop.

Read `horizon` (how long), `schedule` (how fast), `muon` and `optimizer` (how), then `loop`; `policy` is
what reinforcement learning adds.
"""
