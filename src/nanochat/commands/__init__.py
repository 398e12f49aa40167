"""The sub-commands, one file each: parse, call one function, print.

Read `options.py` first: it turns configurations into flags and holds what commands share. A command module
imports nothing heavy at its top, because TAB and `--help` import it; `nanochat.cli` lists the commands.
"""
