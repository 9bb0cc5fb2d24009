"""Evaluate a run, trained by either framework, in PyTorch: python -m torchnets.evaluate RUN (see --help)."""

from experiment import evaluation

if __name__ == "__main__":
    evaluation.main("torchnets")
