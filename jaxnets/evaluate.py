"""Evaluate a run, trained by either framework, in Flax: python -m jaxnets.evaluate RUN (see --help)."""

from experiment import evaluation

if __name__ == "__main__":
    evaluation.main("jaxnets")
