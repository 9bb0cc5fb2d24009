"""Evaluate a run, trained by either framework, in Flax: python -m jaxnets.evaluate RUN (see --help)."""

from experiment.cli import evaluate

if __name__ == "__main__":
    evaluate.main("jaxnets")
