"""`python -m nanochat` is the `nanochat` command."""

from nanochat.cli import entry

if __name__ == "__main__":
    entry()
