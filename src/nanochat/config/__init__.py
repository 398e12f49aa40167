"""Every dial, as frozen keyword-only dataclasses that check themselves.

Read `fields` (how a field becomes a flag), `load` (where values come from), `model`, then one file per stage.
"""
