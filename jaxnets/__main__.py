"""Run a command in Flax: jaxnets COMMAND ..., or python -m jaxnets COMMAND ... (see --help)."""

from experiment.cli import commands


def main() -> None:
    """Run the command line."""
    commands.main("jaxnets")


if __name__ == "__main__":
    main()
