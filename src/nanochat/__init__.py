"""From raw text to a chat model of one's own.

Rooms, from the front door down: `cli`, `commands`, `console`, `stages`, `training` and `evaluation`, `engine`,
`tasks`, `data`, `checkpoints` and `report`, `model`, `tokenizer` and `pocket`, `config`, `runtime`, `errors`.
A module imports only from rows below its own. Two walks through the house: `commands/train.py` downwards to see a
model made, `commands/chat.py` downwards to see one answer.
"""
