"""The viseme network's logits as audio features, for renderers that hear for themselves.

29 numbers, 50 times a second: the layout of the DeepSpeech features that GaussianTalker is trained on, with phone
classes in place of letters. An avatar must have been trained on the kind of features that it is shown.
"""

from fractions import Fraction

import numpy as np

from marotte.models.viseme.network import LOOKAHEAD, ROW, VisemeNetwork, VisemeStream
from marotte.models.viseme.phones import PHONES
from marotte.runtime.contracts import SAMPLE_RATE, Features, FeatureStream


class VisemeFeatures(Features):
    """Logits of the 29 phone classes, in the order of `marotte.models.viseme.phones.PHONES`."""

    rate = Fraction(SAMPLE_RATE, ROW)
    width = len(PHONES)
    lookahead = LOOKAHEAD

    def __init__(self) -> None:
        self._network = VisemeNetwork.load()

    def open(self) -> "VisemeFeatureStream":
        """Return the stream of a new speaker."""
        return VisemeFeatureStream(self._network.open())


class VisemeFeatureStream(FeatureStream):
    """One speaker's logits."""

    def __init__(self, heard: VisemeStream) -> None:
        self._heard = heard

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Return the rows [n, 29] that are now decided."""
        return self._heard.feed(samples).logits

    def finish(self) -> np.ndarray:
        """Return the rows that are left."""
        return self._heard.finish().logits

    def reset(self) -> None:
        """Forget the speaker."""
        self._heard.reset()
