"""What a terminal shows: the live display of a run on stderr, a consumer of events, and tokens in colour.

Read `progress`, which hears the events; then `tracker` (what is known of the stage that runs), `lines` (what
that looks like), `kept` (the lines that stay) and `words` (numbers, bars and foreign text as short strings).
`json_lines` is the display for programs, `log_format` says which of the two a command wants. `tokens` stands by itself.
"""
