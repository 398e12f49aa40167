"""The dashboard of a run, from the files of the run alone: it writes nothing, takes no lock and loads no torch.

Read in this order: `reading` (what is new in the files), `records` (lines become events), `series` (events become
curves of bounded size), `run` and `model` (what is known), `ticks` and `plot` (curves become characters), `looking` and
`comparison`, `view`, `tables` and `summary` (what is known becomes lines, or JSON), `widgets` and `app` (lines on a
terminal that answers to keys).
"""
