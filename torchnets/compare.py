"""Compare runs, trained by either framework: python -m torchnets.compare RUN RUN... (see --help)."""

from experiment.cli import compare

if __name__ == "__main__":
    compare.main("torchnets")
