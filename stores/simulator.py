"""Simulated features: they look like I3D's and encode the ground truth, to test the machinery.

Never evidence about real video: every score on them must be called simulated. The constants were
fixed from 329 real I3D-RGB clips before any model saw simulated features; they are not for tuning.

A query is a direction q in word-vector space. A moment adds a direction v near q to the rows inside
it; distractor moments, wrong moments and drifting noise in the same directions hide it:

    h_t = gain * sum_j w_j(t) v_j + sem * drift_t          projected to D channels by a fixed matrix
    z_t = sqrt(.11) channel + sqrt(.43) scene(video) + sqrt(rest) drift'_t + h_t     about N(0, 1)
    row_t = the quantile of Gamma(.842, scale .195) at Phi(z_t)

Matrices are multiplied as float64 and rows are rounded to float16, so that neither the number of
threads nor the BLAS kernels show: what sums in another order differ by is far below that.

Shapes: n rows of a video, one each 0.5 s; D channels; Q queries; K query directions; W word vector.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv, ndtr

from stores.directions import query_directions, unit
from stores.pairs import Pair
from stores.seeds import generator

Array = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]

VERSION = 2  # raised when the same arguments would give other rows
STEP_S = 0.5  # a row each
GAMMA_SHAPE, GAMMA_SCALE = 0.842, 0.195  # marginal distribution of a channel
CHANNEL, SCENE = 0.11, 0.43  # shares of the variance; the rest changes within a video
LEAK = 0.6  # of the mean query into the scene
EDGE_S = 0.5  # scale of a moment's logistic edges
SPREAD = 0.3  # deviation of the log of a moment's amplitude
DISTRACTORS = 1.5  # a video, on average
LEAST_REST = 0.05  # of the variance, for videos crowded with moments


@dataclass(frozen=True)
class Setting:
    """How hard the moments are to see."""

    gain: float  # of a moment
    alpha: float  # share of the query in what its moment shows
    sem: float  # drifting noise in the query directions
    miss: float  # probability that a moment shows something else
    jitter_s: float  # deviation of a moment's edges from the annotated ones
    tau_s: float  # how slowly noise drifts


EASY = Setting(gain=0.35, alpha=0.7, sem=0.4, miss=0.15, jitter_s=0.8, tau_s=2.0)
DEFAULT = Setting(gain=0.30, alpha=0.6, sem=0.5, miss=0.2, jitter_s=1.0, tau_s=3.5)


@dataclass(frozen=True)
class Event:
    """A stretch of a video that the queries asked of it describe."""

    start_s: float
    end_s: float
    queries: tuple[int, ...]


class Simulator:
    """Rows of any video of some pairs; a video's rows depend on its id, the pairs and the seed."""

    def __init__(
        self,
        pairs: Iterable[Pair],
        vectors: Mapping[str, npt.NDArray[np.float32]],
        *,
        channels: int,
        seed: int,
        setting: Setting = DEFAULT,
    ) -> None:
        self.channels, self.seed, self.setting = channels, seed, setting
        pairs = list(pairs)
        queries = sorted({pair.query for pair in pairs})
        self.queries_QK = query_directions(queries, vectors, seed=seed)
        self.spread_K = np.sqrt((self.queries_QK**2).mean(axis=0))  # noise is shaped as queries are
        self.videos = _events_of_videos(pairs, {query: i for i, query in enumerate(queries)})
        self.lengths = np.sort(
            [_share(event, d) for d, events in self.videos.values() for event in events]
        )
        rng = generator(seed, "simulator")
        shape = (self.queries_QK.shape[1], channels)
        self.projection_KD = rng.standard_normal(shape, np.float32).astype(np.float64)
        self.channel_D = rng.standard_normal(channels, np.float32)

    def facts(self) -> dict[str, Any]:
        """Return what, beside the pairs and the words, the rows depend on."""
        return {
            "version": VERSION,
            "seed": self.seed,
            "channels": self.channels,
            **asdict(self.setting),
        }

    def shape(self, video: str) -> tuple[int, int]:
        """Return (n, D) of a video."""
        return max(1, round(self.videos[video][0] / STEP_S)), self.channels

    def read(self, video: str) -> Array:
        """Return the rows of a video, shape (n, D), whose values float16 holds."""
        duration_s, events = self.videos[video]
        n, _ = self.shape(video)
        rng = generator(self.seed, "video", video)
        shown_nK, energy = self._moments(rng, n, duration_s, events)
        drift_nK = drift(rng, n, len(self.spread_K), tau_s=self.setting.tau_s) * self.spread_K
        asked = sorted({query for event in events for query in event.queries})
        scene_D = LEAK * unit(self.queries_QK[asked].sum(axis=0)) @ self.projection_KD
        scene_D += math.sqrt(1 - LEAK**2) * rng.standard_normal(self.channels, np.float32)
        rest = max(1 - CHANNEL - SCENE - self.setting.sem**2 - energy, LEAST_REST)
        z_nD = (shown_nK + self.setting.sem * drift_nK) @ self.projection_KD
        z_nD += math.sqrt(rest) * drift(rng, n, self.channels, tau_s=self.setting.tau_s)
        z_nD += math.sqrt(CHANNEL) * self.channel_D + math.sqrt(SCENE) * scene_D
        return gamma_rows(z_nD.astype(np.float32)).astype(np.float16).astype(np.float32)

    def _moments(
        self, rng: np.random.Generator, n: int, duration_s: float, events: Sequence[Event]
    ) -> tuple[Double, float]:
        """Return what the video's moments and distractors show, (n, K), and its mean square."""
        alpha, jitter_s = self.setting.alpha, self.setting.jitter_s
        shown_nK = np.zeros((n, self.queries_QK.shape[1]))
        times_n = (np.arange(n, dtype=np.float64) + 0.5) * STEP_S
        for event in events:
            start_s, end_s = rng.normal((event.start_s, event.end_s), jitter_s)
            other_K = self._any_query(rng)
            query_K = unit(self.queries_QK[list(event.queries)].sum(axis=0))
            mixed_K = unit(alpha * query_K + math.sqrt(1 - alpha**2) * other_K)
            vector_K = other_K if rng.random() < self.setting.miss else mixed_K
            shown_nK += _presence(rng, times_n, start_s, end_s)[:, None] * vector_K
        for _ in range(rng.poisson(DISTRACTORS)):
            length_s = float(rng.choice(self.lengths)) * duration_s
            start_s = rng.uniform(0.0, duration_s - length_s)
            present_n = _presence(rng, times_n, start_s, start_s + length_s)
            shown_nK += present_n[:, None] * self._any_query(rng)
        shown_nK *= self.setting.gain
        return shown_nK, float((shown_nK**2).sum(axis=1).mean())

    def _any_query(self, rng: np.random.Generator) -> Double:
        query_K: Double = self.queries_QK[rng.integers(len(self.queries_QK))]
        return query_K


def drift(rng: np.random.Generator, n: int, width: int, *, tau_s: float) -> Array:
    """Return stationary noise of unit variance, (n, width), whose correlation falls as exp(-t/tau)."""
    keep = math.exp(-STEP_S / tau_s)
    noise = rng.standard_normal((n, width), np.float32)
    noise[1:] *= math.sqrt(1 - keep**2)
    for t in range(1, n):
        noise[t] += keep * noise[t - 1]
    return noise


def gamma_rows(z_nD: Array) -> Array:
    """Return the Gamma quantile of Phi(z), from a table of steps of 1/512 up to 6 deviations."""
    place = (np.clip(z_nD, -_END, _END) + _END) * _PER_UNIT
    index = np.minimum(place.astype(np.int32), len(_QUANTILES) - 2)
    low = _QUANTILES[index]
    rows: Array = low + (place - index.astype(np.float32)) * (_QUANTILES[index + 1] - low)
    return rows


_END, _PER_UNIT = 6.0, 512
_QUANTILES = (
    GAMMA_SCALE
    * gammaincinv(GAMMA_SHAPE, ndtr(np.arange(-_END * _PER_UNIT, _END * _PER_UNIT + 1) / _PER_UNIT))
).astype(np.float32)


def _presence(rng: np.random.Generator, times_n: Double, start_s: float, end_s: float) -> Double:
    """Return how much of a moment each row shows: a lognormal amplitude, with logistic edges."""
    amplitude = rng.lognormal(0.0, SPREAD)
    rise = 1 / (1 + np.exp(-np.clip((times_n - start_s) / EDGE_S, -40, 40)))
    fall = 1 / (1 + np.exp(-np.clip((end_s - times_n) / EDGE_S, -40, 40)))
    presence: Double = amplitude * rise * fall
    return presence


def _events_of_videos(
    pairs: Iterable[Pair], query_ids: Mapping[str, int]
) -> dict[str, tuple[float, list[Event]]]:
    """Return each video's duration and events; queries that name the same window share one."""
    durations: dict[str, float] = {}
    found: dict[str, dict[tuple[float, float], set[int]]] = {}
    for pair in pairs:
        durations.setdefault(pair.video, pair.duration_s)
        windows = found.setdefault(pair.video, {})
        for window in pair.windows:
            windows.setdefault(window, set()).add(query_ids[pair.query])
    return {
        video: (
            durations[video],
            [Event(min(w), max(w), tuple(sorted(ids))) for w, ids in sorted(windows.items())],
        )
        for video, windows in found.items()
    }


def _share(event: Event, duration_s: float) -> float:
    """Return the part of its video that an event takes."""
    return min(max(event.end_s - event.start_s, 0.0) / duration_s, 1.0)
