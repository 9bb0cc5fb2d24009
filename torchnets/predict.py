"""Classify files with a run of either framework, in PyTorch: python -m torchnets.predict RUN FILE... (see --help)."""

from experiment import prediction

if __name__ == "__main__":
    prediction.main("torchnets")
