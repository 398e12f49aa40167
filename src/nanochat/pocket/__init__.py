"""A small true world, written out: what the pocket corpus says and what pocket conversations ask about it.

Read `facts` (tables), `wordings` (how each fact is stated and asked), `phrases` (all other text), `numerals`
and `words`, `draw` and `held_out` (what training never sees), then `documents` and `conversations`, which put
them together. Pure Python, and every text is a function of its seed.
"""
