"""Draw what a run of either framework has learned, in Flax: python -m jaxnets.visualize RUN (see --help)."""

from experiment.cli import visualize

if __name__ == "__main__":
    visualize.main("jaxnets")
