"""Other people's dashboards, told of a run: TensorBoard, Weights & Biases, Trackio.

Each logger is a process of its own that reads the run's events as lines of JSON, so that whatever it does (wait for a
network, print a banner, crash) it can neither slow nor end the run. Read `attach`, which starts and feeds the
processes; then `mirror`, what such a process makes of the events; then `to_tensorboard`, `to_wandb` and `to_trackio`.
"""
