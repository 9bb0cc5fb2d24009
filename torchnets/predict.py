"""Classify files with a run of either framework, in PyTorch: python -m torchnets.predict RUN FILE... (see --help)."""

from experiment.cli import predict

if __name__ == "__main__":
    predict.main("torchnets")
