"""Fitting the head: logistic regression over the materials and "none of these", where a picture may be allowed several answers.

A surface of two materials may be called either, a photo either of what is listed for it or none of these, since a patch of it need not
show what is listed (partial labels, Cour et al., "Learning from partial labels", 2011). Groups that were held out set how sure it may be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainzoom.prompters.surfaces import REACH, Head

Rows = NDArray[np.float32]
Allowed = NDArray[np.bool_]
"""(patches, materials + 1): what each patch may be called; the last column is none of these."""

DECAY = 3e-3
ROUNDS = 250
FOLDS = 4
_RATE = 0.02
_NONE = 0.3
"""Share of all weight that patches get which may be none of these: a zoom shows much that the head does not know."""
_TEMPERATURES = np.geomspace(0.5, 4, 25)


def fit(rows: Rows, allowed: Allowed, groups: Sequence[str], materials: Sequence[str]) -> Head:
    """The head for ``materials`` from features (n, features), what each patch may be called, and its group. Deterministic."""
    weight = weights(allowed)
    held, fold = np.zeros(allowed.shape), folds(allowed, groups)
    for k in range(FOLDS):
        part = fold != k
        held[~part] = _train(rows[part], allowed[part], weight[part], materials).logits(rows[~part])
    losses = [_loss(held / t, allowed, weight) for t in _TEMPERATURES]
    temperature = float(_TEMPERATURES[int(np.argmin(losses))])
    head = _train(rows, allowed, weight, materials)
    kernel, bias = (np.asarray(part / temperature, dtype=np.float32) for part in (head.kernel, head.bias))
    return Head(head.materials, kernel, bias, head.centre, head.spread)


def weights(allowed: Allowed) -> NDArray[np.float64]:
    """(n,), adding up to 1: materials count by the square root of their patches, the common ones less and the rare ones more than each."""
    shares = allowed / allowed.sum(axis=1, keepdims=True)
    each = shares @ (1 / np.sqrt(np.maximum(shares.sum(axis=0), 1)))
    none = allowed[:, -1]
    for part, share in ((none, _NONE if none.any() else 0.0), (~none, 1 - _NONE if none.any() else 1.0)):
        each[part] *= share / max(each[part].sum(), 1e-12)
    return np.asarray(each)


def folds(allowed: Allowed, groups: Sequence[str]) -> NDArray[np.intp]:
    """(n,): groups go round by material, rarest first, so that each fold holds some of each."""
    names = np.array(groups)
    fold: dict[str, int] = {}
    for k in np.argsort(allowed.sum(axis=0), kind="stable"):
        for group in dict.fromkeys(names[allowed[:, k]].tolist()):
            fold.setdefault(group, len(fold) % FOLDS)
    return np.array([fold[group] for group in groups])


def _train(rows: Rows, allowed: Allowed, weight: NDArray[np.float64], materials: Sequence[str]) -> Head:
    """Adam over all patches at once, from zero."""
    centre, spread = rows.mean(axis=0), rows.std(axis=0) + np.float32(1e-4)
    x = np.clip((rows - centre) / spread, -REACH, REACH)
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
    kernel = np.zeros((allowed.shape[1], x.shape[1]), np.float32)
    mean, square = np.zeros_like(kernel), np.zeros_like(kernel)
    each = (weight / weight.sum()).astype(np.float32)[:, None]
    pull = np.full((1, x.shape[1]), DECAY, np.float32)
    pull[0, -1] = 0
    for k in range(1, ROUNDS + 1):
        p = _softmax(x @ kernel.T)
        wanted = p * allowed
        wanted /= np.maximum(wanted.sum(axis=1, keepdims=True), 1e-12)
        gradient = ((p - wanted) * each).T @ x + pull * kernel
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = _RATE * (1 - (k - 1) / ROUNDS)
        kernel -= np.float32(rate) * (mean / (1 - 0.9**k)) / (np.sqrt(square / (1 - 0.99**k)) + 1e-8)
    return Head(tuple(materials), kernel[:, :-1].copy(), kernel[:, -1].copy(), centre.astype(np.float32), spread.astype(np.float32))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _loss(logits: NDArray[np.float64], allowed: Allowed, weight: NDArray[np.float64]) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    share = (powers * allowed).sum(axis=1) / powers.sum(axis=1)
    return float(-(weight * np.log(np.maximum(share, 1e-9))).sum())
