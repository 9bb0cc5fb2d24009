"""What every command prints with."""

from rich.console import Console


def say(console: Console, line: str) -> None:
    """Print a line as it is: not wrapped in a log, not coloured by guesses."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
