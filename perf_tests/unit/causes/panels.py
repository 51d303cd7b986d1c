"""Panels of drawn boots: metrics of as many cells, against a baseline of their own."""

import numpy as np

from fixtures.causes.panel import Panel
from fixtures.gate.noise import Noise


def panel(
    known, night, cells=None, seconds=None, sigma=None, tolerance=0.01, hosts=None, host="", timed=None, paired=False
):
    """Changes for the worse [metrics, boots] of baseline and night; each metric a cell of its own unless told."""
    known, night = np.asarray(known, dtype=float), np.asarray(night, dtype=float)
    count, boots = known.shape
    sigmas = np.broadcast_to(np.nanstd(known, axis=1, ddof=1) if sigma is None else sigma, count)
    return Panel(
        known,
        hosts or ["h"] * boots,
        night,
        [Noise(1.0, boots, float(one), degrees=30, paired=paired) for one in sigmas],
        np.broadcast_to(np.asarray(tolerance, dtype=float), count),
        np.arange(count) if cells is None else np.array(cells),
        np.full(count, np.nan) if seconds is None else np.asarray(seconds, dtype=float),
        np.ones(count, dtype=bool) if timed is None else np.array(timed),
        host,
    )


def drawn(seed, shifts, boots=3, known=10, cv=0.005, **others):
    """A panel of metrics that are worse by ``shifts``, and noise."""
    random, shifts = np.random.default_rng(seed), np.asarray(shifts, dtype=float)
    before = random.normal(0, cv, (len(shifts), known))
    before -= before.mean(axis=1, keepdims=True)  # a change is against the centre
    now = random.normal(0, cv, (len(shifts), boots)) + shifts[:, None]
    return panel(before, now, sigma=cv, **others)
