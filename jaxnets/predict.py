"""Classify files with a run of either framework, in Flax: python -m jaxnets.predict RUN FILE... (see --help)."""

from experiment.cli import predict

if __name__ == "__main__":
    predict.main("jaxnets")
