"""The run folder: checkpoints, atomic writes, locks, resuming, summary, plots."""
