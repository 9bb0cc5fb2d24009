"""Pairs of rows and columns with the largest sum of scores: `scipy.optimize.linear_sum_assignment` without scipy."""

import numpy as np


def assigned(scores: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs, of each row and each column one at most, as many as there can be, in the order of rows."""
    if scores.shape[0] > scores.shape[1]:
        return sorted((i, j) for j, i in assigned(scores.T))
    rows, columns = scores.shape
    owner = np.full(columns, -1)  # of each column: its row
    prices = np.zeros(columns)
    worths = np.zeros(rows)
    for start in range(rows):
        _augment(scores, start, owner, prices, worths)
    return sorted((int(i), j) for j, i in enumerate(owner) if i >= 0)


def _augment(scores: np.ndarray, start: int, owner: np.ndarray, prices: np.ndarray, worths: np.ndarray) -> None:
    """Give a row a column by the cheapest way to exchange those of other rows (Hungarian method)."""
    columns = scores.shape[1]
    distance, before = np.full(columns, np.inf), np.full(columns, -1)
    done = np.zeros(columns, bool)
    row, reached, last = start, 0.0, -1
    while True:
        cost = reached - scores[row] - worths[row] - prices
        nearer = ~done & (cost < distance)
        distance[nearer], before[nearer] = cost[nearer], last
        last = int(np.where(done, np.inf, distance).argmin())
        reached = distance[last]
        if owner[last] < 0:
            break
        done[last] = True
        row = owner[last]
    worths[start] += reached
    worths[owner[done]] += reached - distance[done]
    prices[done] -= reached - distance[done]
    while last >= 0:
        owner[last] = start if before[last] < 0 else owner[before[last]]
        last = before[last]
