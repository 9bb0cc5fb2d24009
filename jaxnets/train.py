"""Train a network in Flax: python -m jaxnets.train --model lenet5 --dataset digits (see --help).

The lesson is in `jaxnets.steps` and `jaxnets.fit`; the command around them is shared, `experiment.training`.
"""

from experiment import training

if __name__ == "__main__":
    training.main("jaxnets")
