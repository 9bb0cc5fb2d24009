"""Compare runs, trained by either framework: python -m torchnets.compare RUN RUN... (see --help)."""

from experiment import comparison

if __name__ == "__main__":
    comparison.main("torchnets")
