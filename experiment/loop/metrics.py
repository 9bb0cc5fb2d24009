"""Losses and the metrics of classification from logits, in float64 numpy, the same for both frameworks.

They are scikit-learn's, computed from counts, since importing it takes a second.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

TOP = 5
MANY = 100  # classes: of more, a JSON file holds no confusion matrix
PIECE = 2**22  # logits that are scored at once


class Score(NamedTuple):
    """The metrics of a split."""

    loss: float  # mean over the examples
    accuracy: float  # in 0..1
    confusion: np.ndarray  # (classes, classes) counts; row: true class, column: predicted class
    top5: float | None = None  # share of examples whose class is among the five likeliest; None for 5 classes or fewer
    auc: np.ndarray | None = None  # (classes,) ROC-AUC of each class against the rest, NaN if undefined; if asked for

    def per_class(self) -> np.ndarray:
        """Return the accuracy (recall) of each class in 0..1, (classes,); NaN for a class without examples."""
        counts = self.confusion.sum(axis=1)
        return np.where(counts > 0, np.diag(self.confusion) / np.maximum(counts, 1), np.nan)

    def precision(self) -> np.ndarray:
        """Return the share of right predictions of each class, (classes,); 0 for a class that is never predicted."""
        return np.diag(self.confusion) / np.maximum(self.confusion.sum(axis=0), 1)

    def f1(self) -> np.ndarray:
        """Return the F1 score of each class, (classes,); 0 for one without examples and predictions."""
        counts = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)  # predicted plus true
        return 2 * np.diag(self.confusion) / np.maximum(counts, 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics of all classes together for a JSON file."""
        found = {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1()}
        found |= {"balanced_accuracy": self.balanced_accuracy()}
        found |= {} if self.top5 is None else {"top5_accuracy": self.top5}
        found |= {} if self.auc is None else {"roc_auc": self.roc_auc()}
        return {name: finite(value) for name, value in found.items()}

    def of_classes(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return what a JSON file holds of each class: its accuracy, its report, and the confusion matrix's rows."""
        per_class = zip(classes, self.per_class(), strict=True)
        found: dict[str, Any] = {"per_class": {name: finite(accuracy) for name, accuracy in per_class}}
        found["report"] = self.report(classes)
        if len(classes) <= MANY:
            found["confusion"] = self.confusion.tolist()
        return found

    def report(self, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """Return precision, recall, F1 and the number of examples of each class, and ROC-AUC if asked for.

        They are those of scikit-learn's `classification_report`, in which recall is 0 for a class without examples.
        """
        recall, counts = np.nan_to_num(self.per_class()), self.confusion.sum(axis=1)
        columns = {"precision": self.precision(), "recall": recall, "f1": self.f1(), "examples": counts}
        columns |= {} if self.auc is None else {"roc_auc": self.auc}
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return {
            name: {key: value if key == "examples" else finite(value) for key, value in zip(columns, row, strict=True)}
            for name, row in zip(classes, rows, strict=True)
        }

    def macro_f1(self) -> float:
        """Return the mean of the classes' F1 scores in 0..1; a class without examples and predictions does not count.

        It is scikit-learn's `f1_score(..., average="macro")`.
        """
        counts = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return float(self.f1()[counts > 0].mean())

    def balanced_accuracy(self) -> float:
        """Return the mean recall of the classes that have examples."""
        return float(self.per_class()[self.confusion.any(axis=1)].mean())

    def roc_auc(self) -> float | None:
        """Return the area under the ROC curve: of two classes that of the second, of more the mean over all.

        It is scikit-learn's `roc_auc_score(..., multi_class="ovr")`, undefined if a class has all examples or none.
        """
        if self.auc is None:
            return None
        return float(self.auc[1] if len(self.auc) == 2 else self.auc.mean())


def finite(value: float | None) -> float | None:
    """Return `value` for JSON: None for NaN and infinity, and for a mean over no examples, which is None already."""
    return float(value) if value is not None and np.isfinite(value) else None


def shown(value: float | None, form: str) -> str:
    """Return `value` in a format such as "7.2%", and "-" of the same width where there is none."""
    if value is None:
        return format("-", f">{form.partition('.')[0].strip(',')}")
    return format(value, form)


def score(logits: np.ndarray, labels: np.ndarray, loss: str, *, roc_auc: bool = False) -> Score:
    """Score logits (N, classes) against labels (N,) with the loss called "cross-entropy" or "bce"."""
    count, classes = logits.shape
    losses, predictions, top = np.empty(count), np.empty(count, np.int64), np.zeros(count, bool)
    step = max(1, PIECE // classes)
    for part in (slice(start, start + step) for start in range(0, count, step)):  # in pieces, to save memory
        some, own = logits[part].astype(np.float64), labels[part]
        losses[part], predictions[part] = LOSSES[loss](some, own), some.argmax(axis=1)
        if classes > TOP:  # of equal logits the later class comes first, as in scikit-learn
            top[part] = (np.argsort(some, axis=1, kind="stable")[:, -TOP:] == own[:, None]).any(axis=1)
    # Counting pairs (label, prediction) as one number each: a confusion matrix in one pass.
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    value, accuracy = float(losses.mean()), float((predictions == labels).mean())
    areas = _areas(logits, labels, loss) if roc_auc else None
    return Score(value, accuracy, confusion, float(top.mean()) if classes > TOP else None, areas)


def probabilities(logits: np.ndarray, loss: str) -> np.ndarray:
    """Return the probability of each class, (N, classes): by softmax, or by a sigmoid each if trained with "bce"."""
    logits = logits.astype(np.float64)
    if loss == "bce":
        return np.exp(-np.logaddexp(0, -logits))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))  # exp of large logits would overflow
    return shares / shares.sum(axis=1, keepdims=True)


def _areas(logits: np.ndarray, labels: np.ndarray, loss: str) -> np.ndarray:
    """Return the area under the ROC curve of each class against the rest, (classes,)."""
    from sklearn.metrics import roc_auc_score  # here: the import takes a second

    found = np.full(logits.shape[1], np.nan)
    if not np.isfinite(logits).all():
        return found
    shares = probabilities(logits, loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes for which it is undefined
        for at in range(len(found)):
            own = labels == at
            if own.any() and not own.all():
                found[at] = roc_auc_score(own, shares[:, at])
    return found


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp of large logits would overflow
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    targets = np.eye(logits.shape[1])[labels]
    # log(1 + exp(x)) - x * t, averaged over the classes too, as PyTorch does (trap 18).
    return (np.logaddexp(0, logits) - logits * targets).mean(axis=1)


LOSSES = {"cross-entropy": _cross_entropy, "bce": _binary_cross_entropy}
