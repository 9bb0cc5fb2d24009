"""What a process of `parity.commands.pool` inherits; a module of its own, so that the process imports nothing else."""

import os


def environment_of_a_check(_: str, *, full: bool) -> tuple[str, str]:
    """Stand in for the check of a network."""
    assert not full
    return os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"], os.environ["OMP_NUM_THREADS"]
