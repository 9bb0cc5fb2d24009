"""Train a network in Flax: python -m jaxnets.train --model lenet5 --dataset digits (see --help).

The lesson is in `jaxnets.step` and `jaxnets.loop`; the command around them is shared, `experiment.cli.train`.
"""

from experiment.cli import train

if __name__ == "__main__":
    train.main("jaxnets")
