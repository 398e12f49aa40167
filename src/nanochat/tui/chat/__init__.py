"""The chat: a screen on a model that lives in a process of its own. Nothing here loads torch.

Read in this order: `talk` (the conversation: store and model) and `asking` (an answer on its way), which know nothing
of screens; `registry` (commands and keys: help, palette, completion and footer are made of it); `styles`, `prose`,
`markdown`, `cards` and `turn` (text becomes lines); `transcript`, `prompt`, `completion`, `side`, `branches` (parts of
the screen); `picker`, `help`, `panes`, `compare`, `samples`, `microscope` (screens over it). The app itself comes in
layers, each a class on the one before: `base`, `answering`, `conversing`, `filing`, `showing`, `doing`, `app`.
"""
