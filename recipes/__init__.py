"""Experiments by name: `--recipe NAME` takes its options from NAME.json here, `--list-recipes` prints them all."""
