"""Numbers about a model: bits per byte, and accuracy on tasks with its interval.

Read `interval`, `bpb`, then `chat`.
"""
