"""Run a command in Flax: jaxnets COMMAND ..., or python -m jaxnets COMMAND ... (see --help)."""

from experiment.cli import console_scripts


def main() -> None:
    """Run the command line."""
    console_scripts.main("jaxnets")


if __name__ == "__main__":
    main()
