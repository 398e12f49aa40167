"""Inference: prompts in, tokens and text out.

Read `steps` and `events` (what goes in and comes out), `sampling`, `calculator` and `tools`; `matrices`, `network` and
`cache` (one forward pass); `row`, `slots`, `lookup` and `scheduler` (many answers at once); `engine` (tokens), `answer`
and `stream` (text), `session` (a conversation), `load` (from a selector to an engine); at last `messages`, `worker` and
`client` (the same in a process of its own).
"""
