"""Classify files with a run of either framework, in Flax: python -m jaxnets.predict RUN FILE... (see --help)."""

from experiment import prediction

if __name__ == "__main__":
    prediction.main("jaxnets")
