"""Inference: prompts in, tokens and text out.

Read `steps` and `events` (what goes in and comes out), `sampling`, `calculator` and `tools`; `matrices`, `network` and
`cache` (one forward pass); `row`, `slots`, `lookup` and `scheduler` (many answers at once); `engine` (tokens), `answer`
and `stream` (text), `session` (a conversation), `load` (from a selector to an engine). Then what front-ends ask for:
`backend` (the protocol), `answering` (done by an engine), `messages`, `worker`, `link` and `client` (by one in a
process of its own), `wire` and `elsewhere` (by another server).
"""
