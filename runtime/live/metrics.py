"""What a live session costs and misses: histograms of delays by stage, counters by cause, as Prometheus reads them."""

import json
import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping

import numpy as np

# Upper ends of the histograms' buckets, in seconds.
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
# Which of several things of one name a value is of.
Labels = tuple[tuple[str, str], ...]
# How many of the newest delays the percentiles are of.
_RECENT = 2048

# From one moment of a frame to a later one; `total` is all of it.
STAGES = {
    "motion": "from sound that came in to its frame's turn to be shown",
    "render": "from then to its picture",
    "encode": "from the picture to its packet",
    "send": "from the packet to the network",
    "total": "from sound that came in to the network",
    "interval": "between pictures that were sent",
}


class Delays:
    """One stage's delays in seconds. recent: how many of the newest the percentiles are of."""

    def __init__(self, recent: int) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0
        self._recent: deque[float] = deque(maxlen=recent)

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds
        self._recent.append(seconds)

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95 and p99 of the newest ones in seconds; empty where there are none."""
        if not self._recent:
            return {}
        values = np.percentile(list(self._recent), (50, 95, 99))
        return {name: float(value) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}

    def forget(self) -> None:
        """Let the percentiles begin anew; the histogram goes on."""
        self._recent.clear()

    def lines(self, name: str, label: str) -> Iterable[str]:
        """Yield the histogram as Prometheus has it."""
        below = 0
        for end, count in zip((*map(str, _BUCKETS), "+Inf"), self._counts, strict=True):
            below += count
            yield f'{name}_bucket{{{label},le="{end}"}} {below}'
        yield f"{name}_sum{{{label}}} {self._sum:.6f}"
        yield f"{name}_count{{{label}}} {below}"


class Metrics:
    """What is counted, from any thread; one for a session, one for the whole server that all sessions add to, which
    has no percentiles: nobody asks for them."""

    def __init__(self, whole: "Metrics | None" = None) -> None:
        self._whole = whole
        self._lock = threading.Lock()
        self._delays = {stage: Delays(_RECENT if whole else 0) for stage in STAGES}
        self._counts: Counter[str] = Counter()
        self._levels: dict[str, dict[Labels, float]] = {}

    def delay(self, stage: str, seconds: float) -> None:
        """Add a delay of one of `STAGES`."""
        with self._lock:
            self._delays[stage].add(seconds)
        if self._whole:
            self._whole.delay(stage, seconds)

    def count(self, what: str, number: int = 1) -> None:
        """Count something that happened: `frames`, `dropped_late`, `turns`, `ran_dry`, ..."""
        with self._lock:
            self._counts[what] += number
        if self._whole:
            self._whole.count(what, number)

    def level(self, what: str, value: float | None, **labels: str) -> None:
        """Note what something is now: `push_state`, ...; labels: which of several. None: it is no more."""
        with self._lock:
            levels = self._levels.setdefault(what, {})
            if value is None:
                levels.pop(tuple(sorted(labels.items())), None)
            else:
                levels[tuple(sorted(labels.items()))] = value
        if self._whole:
            self._whole.level(what, value, **labels)

    def begin_turn(self) -> None:
        """Let the percentiles be of what comes from now on."""
        with self._lock:
            for delays in self._delays.values():
                delays.forget()

    def report(self) -> dict[str, object]:
        """Return the percentiles by stage in milliseconds, and the counts."""
        with self._lock:
            stages = {name: delays.percentiles() for name, delays in self._delays.items()}
            counts = dict(self._counts)
        found = {
            name: {share: round(1000 * value, 2) for share, value in values.items()}
            for name, values in stages.items()
            if values
        }
        return {"delays_ms": found, "counts": counts}

    def prometheus(self, gauges: Mapping[str, float]) -> str:
        """Return the text that Prometheus scrapes; gauges: values of now by name."""
        lines = ["# TYPE marotte_delay_seconds histogram"]
        with self._lock:
            for stage, delays in self._delays.items():
                lines += delays.lines("marotte_delay_seconds", f'stage="{stage}"')
            for what, number in sorted(self._counts.items()):
                lines += [f"# TYPE marotte_{what}_total counter", f"marotte_{what}_total {number}"]
            levels = {name: dict(values) for name, values in self._levels.items() if values}
        levels |= {name: {(): value} for name, value in gauges.items()}
        for name, values in sorted(levels.items()):
            lines.append(f"# TYPE marotte_{name} gauge")
            lines += [f"marotte_{name}{_braced(labels)} {value:g}" for labels, value in sorted(values.items())]
        return "\n".join(lines) + "\n"


def _braced(labels: Labels) -> str:
    """Return labels as Prometheus has them, empty for none."""
    return (
        "{" + ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels) + "}"
        if labels
        else ""
    )
