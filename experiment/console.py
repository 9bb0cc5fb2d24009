"""What every command prints with."""

from rich.console import Console

from data.terminal import printable


def make_console(*, quiet: bool = False) -> Console:
    """Return a console that prints names as they are: "[red]" and ":dog:" are text, not markup."""
    return Console(quiet=quiet, markup=False, emoji=False)


def shows_progress(console: Console) -> bool:
    """Return whether a progress bar can be shown: on a terminal alone, even if FORCE_COLOR asks for its colours."""
    return console.is_interactive and not console.quiet and console.file.isatty()


def say(console: Console, text: str) -> None:
    """Print lines as they are: not wrapped in a log, not coloured by guesses."""
    console.print("\n".join(map(printable, text.split("\n"))), soft_wrap=True, highlight=False)
