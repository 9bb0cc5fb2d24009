"""Leaves whose origin is not known yet: they stay symbolic until they meet data.

A leaf that is cut up (layers stacked by a scan, a fused projection) is found piece by piece.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Region = tuple[tuple[int, int], ...]  # start and stop along each axis


class Piece(NamedTuple):
    """A part of a leaf; all of it if the region covers it."""

    path: str
    region: Region

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the part."""
        return tuple(stop - start for start, stop in self.region)


def whole(path: str, shape: Sequence[int]) -> Piece:
    """Return all of a leaf."""
    return Piece(path, tuple((0, size) for size in shape))


class Symbol:
    """An array computed from pieces of leaves and constants alone."""

    __slots__ = ("compute", "piece", "pieces", "shape")

    def __init__(
        self,
        compute: Callable[[Mapping[Piece, Any]], Any],
        pieces: tuple[Piece, ...],
        shape: Sequence[int],
        piece: Piece | None = None,
    ):
        self.compute, self.pieces, self.shape = compute, pieces, tuple(shape)
        self.piece = piece  # if it is nothing but this piece, in its shape


def of_piece(piece: Piece, dtype: Any) -> Symbol:
    """Return the symbol of a piece itself."""
    return Symbol(lambda found: np.asarray(found[piece], dtype), (piece,), piece.shape, piece)


def cut(symbol: Symbol, starts: Sequence[int], sizes: Sequence[int], dtype: Any) -> Symbol | None:
    """Return a block of a symbol as a smaller piece, if it is a piece itself."""
    if symbol.piece is None:
        return None
    region = tuple(
        (first + start, first + start + size)
        for (first, _), start, size in zip(symbol.piece.region, starts, sizes, strict=True)
    )
    return of_piece(Piece(symbol.piece.path, region), dtype)


def row(symbol: Symbol, index: int, dtype: Any) -> Symbol:
    """Return one row of a symbol, as a piece of its own if it is one."""
    sizes = (1, *symbol.shape[1:])
    piece = cut(symbol, (index, *(0 for _ in symbol.shape[1:])), sizes, dtype)
    source, at = (piece, 0) if piece is not None else (symbol, index)
    return Symbol(lambda found: source.compute(found)[at], source.pieces, symbol.shape[1:])


def parted(piece: Piece, axis: int, count: int) -> list[Piece]:
    """Return a piece in equal parts."""
    (start, stop), parts = piece.region[axis], []
    size = (stop - start) // count
    for number in range(count):
        region = list(piece.region)
        region[axis] = (start + number * size, start + (number + 1) * size)
        parts.append(Piece(piece.path, tuple(region)))
    return parts


def within(piece: Piece, outer: Piece) -> bool:
    """Tell whether a piece lies inside of another."""
    return piece.path == outer.path and all(
        y[0] <= x[0] and x[1] <= y[1] for x, y in zip(piece.region, outer.region, strict=True)
    )


def inside(piece: Piece, outer: Piece, array: np.ndarray) -> np.ndarray:
    """Return a piece's numbers out of an outer one's."""
    return array[
        tuple(
            slice(start - first, stop - first)
            for (start, stop), (first, _) in zip(piece.region, outer.region, strict=True)
        )
    ]
