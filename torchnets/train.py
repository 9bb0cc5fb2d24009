"""Train a network in PyTorch: python -m torchnets.train --model lenet5 --dataset digits (see --help).

The lesson is in `torchnets.steps` and `torchnets.fit`; the command around them is shared, `experiment.training`.
"""

from experiment import training

if __name__ == "__main__":
    training.main("torchnets")
