"""Train a network in PyTorch: python -m torchnets.train --model lenet5 --dataset digits (see --help).

The lesson is in `torchnets.step` and `torchnets.loop`; the command around them is shared, `experiment.cli.train`.
"""

from experiment.cli import train

if __name__ == "__main__":
    train.main("torchnets")
