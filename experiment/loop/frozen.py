"""Frozen layers: what they make of an example is computed once, not in every epoch."""

from typing import Any

from data import Split
from data.augment import augmentations
from experiment.config import Config
from experiment.console import say
from experiment.loop.session import Session
from experiment.loop.task import network_inputs, predict_split


def with_features(session: Session, variables: Any) -> Session:
    """Return the session with features for examples and the head for the network, if the head alone is trained.

    The trained parameters get the same gradients, and the head draws the same dropout. As they were, sessions stay
    whose inputs change from epoch to epoch, and those of a network of the user's own, of which nobody knows that
    `features` and `head` are all of it.
    """
    parts = None if session.task.entry.own else session.backend.parts(session.model)
    if not parts or not _constant(session.config):
        return session
    if session.start:
        variables = session.backend.restore(variables, session.start.weights())
    frozen, head = parts
    names = session.task.splits if session.group.leads else ("train",)  # process 0 alone evaluates
    features = {name: _features(session, frozen, variables, name) for name in names}
    session.group.barrier()  # the others have fewer to compute, and the first step waits only for so long
    count = sum(len(split.labels) for split in features.values())
    say(session.console, f"features of the frozen layers: computed once for {count:,} examples")
    return session._replace(model=head, task=session.task._replace(features=features))


def _constant(config: Config) -> bool:
    """Return whether an example's inputs are always the same, and float32, in which features are kept, suffices."""
    changed = augmentations(config.augment) or config.mixup or config.tta != "none"
    return not changed and config.precision != "float64"


def _features(session: Session, frozen: Any, variables: Any, name: str) -> Split:
    """Return the features of a split's examples, (N, 1, 1, channels)."""
    backend, task, config = session.backend, session.task, session.config
    features = predict_split(backend, frozen, variables, task, name, config)
    return Split(features[:, None, None], network_inputs(task, name)[0].labels)
