"""Draw what a run of either framework has learned, in PyTorch: python -m torchnets.visualize RUN (see --help)."""

from experiment.cli import visualize

if __name__ == "__main__":
    visualize.main("torchnets")
