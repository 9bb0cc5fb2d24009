"""Compare runs, trained by either framework: python -m jaxnets.compare RUN RUN... (see --help)."""

from experiment.cli import compare

if __name__ == "__main__":
    compare.main("jaxnets")
