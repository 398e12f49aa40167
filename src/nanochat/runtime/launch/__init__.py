"""Several processes: whether to start them (`decide`, `slurm`), the launcher (`supervise`), and each of them (`worker`,
`pulse`). `ending` is what they tell each other of how it went.
"""
