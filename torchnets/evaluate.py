"""Evaluate a run, trained by either framework, in PyTorch: python -m torchnets.evaluate RUN (see --help)."""

from experiment.cli import evaluate

if __name__ == "__main__":
    evaluate.main("torchnets")
