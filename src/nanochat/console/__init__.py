"""What a terminal shows: the live display of a run on stderr, a consumer of events, and tokens in colour.

Read `progress`, which hears the events; then `tracker` (what is known of the stage that runs), `lines` (what
that looks like) and `words` (numbers, bars and foreign text as short strings). `tokens` stands by itself.
"""
