"""The commands of python -m parity, a module each: `add` describes the options, `run` imports what it needs."""
