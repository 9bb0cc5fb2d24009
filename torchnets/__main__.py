"""Run a command in PyTorch: torchnets COMMAND ..., or python -m torchnets COMMAND ... (see --help)."""

from experiment.cli import commands


def main() -> None:
    """Run the command line."""
    commands.main("torchnets")


if __name__ == "__main__":
    main()
