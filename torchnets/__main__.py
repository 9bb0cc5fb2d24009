"""Run a command in PyTorch: torchnets COMMAND ..., or python -m torchnets COMMAND ... (see --help)."""

from experiment.cli import console_scripts


def main() -> None:
    """Run the command line."""
    console_scripts.main("torchnets")


if __name__ == "__main__":
    main()
