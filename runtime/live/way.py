"""Way: how a live face gets its motion: by which driver, and what its renderer hears for itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.contracts import Driver, FeatureNeed, Features
from marotte.runtime.join import features_for


@dataclass(frozen=True, eq=False)
class Way:
    """need, features: for renderers that hear for themselves; rest: the row [width] that the features give for long
    silence. smooth: as in a session."""

    driver: Driver
    options: Mapping[str, Any] = field(default_factory=dict)
    features: Features | None = None
    need: FeatureNeed | None = None
    rest: np.ndarray | None = None
    smooth: bool = False

    @classmethod
    def of(cls, driver: Driver, options: Mapping[str, Any], avatar: str, need: FeatureNeed | None) -> "Way":
        """Return an avatar's, by its name. Raises MarotteError where it cannot be live."""
        if need is None:
            return cls(driver, options)
        features = features_for(need, avatar)
        if not np.isfinite(features.lookahead):
            raise MarotteError(
                f"avatar {avatar}: its audio features need the whole sound, so they are not live: use "
                "--normalise running, or --features phones for an avatar that was trained on them"
            )
        return cls(driver, options, features, need, _rest(features, need))

    @property
    def latency(self) -> float:
        """Seconds by which its motion is later than the sound."""
        return max(self.driver.lookahead + self.driver.chunk, self.features.lookahead if self.features else 0.0)

    @property
    def window(self) -> np.ndarray | None:
        """The feature window [window, width] of long silence, None where the renderer hears nothing."""
        return None if self.rest is None or self.need is None else np.tile(self.rest, (self.need.window, 1))

    def serves(self, other: "Way") -> bool:
        """Return whether what it gives is just what another one would."""
        driven = self.driver is other.driver and dict(self.options) == dict(other.options)
        return driven and self.smooth == other.smooth and other.need in (None, self.need)


def _rest(features: Features, need: FeatureNeed) -> np.ndarray:
    """Return the row [width] that the features give in the middle of long silence."""
    stream = features.open()
    rows = np.concatenate([stream.feed(np.zeros(3 * 16000, np.float32)), stream.finish()])
    stream.close()
    return rows[len(rows) // 2]
