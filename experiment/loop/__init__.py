"""The training loop around a framework: batches, metrics, schedules, callbacks."""
