"""What lips and jaw do for each of the 29 phones, how much each phone insists on it, and for how long.

Seven articulators move apart, each from 0 to 1:

    jaw     how far the jaw turns, 1 is all the way (ARKit's jawOpen); speech uses half of it
    lips    how far the lips part in the middle, 1 is the gap of a jaw that is all the way open
    pucker  lips drawn together and forward, as in "who"
    flare   lips forward and turned out, as in "shoe" and "law"
    spread  mouth corners drawn apart, as in "see"
    tuck    lower lip rolled in under the upper teeth, as in "five"
    teeth   lips lifted off the teeth, as in "zoo"

A phone has a target for each, and a strength: how it weighs against its neighbours. A strong target is always
reached (lips of "m", teeth of "s"), a weak one is what its neighbours make of it: "t" between two "oo" is said with
rounded lips, and "k" leaves the jaw to the vowels (Cohen and Massaro 1993). Times say how far a phone reaches.

Sources. Order and spacing of jaw heights (sibilants highest, then stops, l and velars lower, open vowels lowest):
Keating, Lindblom, Lubker and Kreiman 1994. Lip opening, width and protrusion of vowels: Fromkin 1964, Linker 1982,
Abry and Boe 1986. Lips of consonants by viseme group: Walden et al. 1977, Montgomery and Jackson 1983. Lip closing of
stops in 60 to 80 ms: Loefqvist and Gracco 1997. Protrusion begins long before its vowel and outlasts it: Perkell and
Matthies 1992. Vowels' lip opening rises in a straight line with `OPENNESS`, to half of full opening for the openest.
"""

import numpy as np

from marotte.models.viseme.phones import PHONES, SILENCE

ARTICULATORS = ("jaw", "lips", "pucker", "flare", "spread", "tuck", "teeth")
JAW, LIPS, PUCKER, FLARE, SPREAD, TUCK, TEETH = range(len(ARTICULATORS))

# Targets in hundredths, then strengths (0: does not care), in the order of ARTICULATORS.
_TABLE = """
      jaw lips puck flar spre tuck teet    jaw lips puck flar spre tuck teet
SIL     0    0    0    0    0    0    0      2    2    3    3    3    3    3
PB      5    0    0    0    0    0    0      9    6    1    3    3    9    9
M       5    0    0    0    0    0    0      9    6    1    3    3    9    9
FV      7   10    0    0   10  100   45     12   25    2    5    3   60    9
TH     11   15    0    0   10    0   20     10    6    1    3    2    9    5
TD      9   13    0    0   15    0   20     10    6    1    3    2    9    5
N      10   13    0    0   15    0   15      9    6    1    3    2    9    5
L      14   16    0    0   10    0   15      7    5    1    3    2    9    5
SZ      4   17    0    0   45    0   85     25    8    3    8    6    9   25
SH      5   18   40   50    0    0   50     25    8   14   20    6    9   25
CH      5   17   38   47    0    0   50     25    8   14   20    6    9   25
KG     15   16    0    0   10    0   10      5    4    1    2    2    9    3
NG     15   16    0    0   10    0   10      5    4    1    2    2    9    3
R      11   13   40   25    0    0   10      8    5    9    9    4    9    4
W       9   11   90   22    0    0    0     10   16   25    9   12    9    6
J      11   16    0    0   45    0   25      8    6    7    6    9    9    5
H      22   20    0    0    0    0    0      2    2    1    1    1    9    1
IY     13   19    0    0   75    0   45     10   10   15   12   10    9    6
IH     18   22    0    0   40    0   25     10   10   10    9    8    9    5
EY     20   25    0    0   55    0   30     10   10   13   11    9    9    6
EH     28   31    0    0   35    0   25     10   10    9    8    8    9    5
AE     38   39    0    0   40    0   25     11   10   10    9    8    9    5
AA     47   48    0    0    0    0    5     11   10    7    7    8    9    5
AH     26   29    0    0   10    0    8      9    9    5    5    5    9    4
AO     35   37   40   45    0    0    0     11   10   12   12   10    9    6
OW     23   26   68   36    0    0    0     10   10   14   12   10    9    6
UW     11   16   90   30    0    0    0     10   11   18   12   10    9    6
YY     11   15   80   28    0    0    5     10   11   16   12   10    9    6
ER     18   21   30   22    0    0   12      9    9    8    8    6    9    4
"""

# Times in ms in which a phone's weight falls to 1/e, before it (anticipation) and after it (carry-over). The jaw is
# heavy and slow, lips are light and quick, and protrusion spreads furthest.
_TIMES = {
    "jaw": (60, 60),
    "lips": (20, 20),
    "pucker": (120, 90),
    "flare": (90, 70),
    "spread": (80, 70),
    "tuck": (36, 40),
    "teeth": (50, 50),
}


def _read() -> tuple[np.ndarray, np.ndarray]:
    _, header, *lines = _TABLE.splitlines()
    count = len(header.split()) // 2
    rows = {phone: [float(number) for number in numbers] for phone, *numbers in map(str.split, lines)}
    table = np.array([rows[phone] for phone in PHONES], np.float32)
    return table[:, :count] / 100, table[:, count:]


# [29, 7] each, in the order of PHONES and ARTICULATORS.
TARGETS, STRENGTHS = _read()


def dominance(ahead: int, behind: int, period: float) -> np.ndarray:
    """Return how much a row of each phone weighs in the rows around it, [behind + 1 + ahead, 29, 7] float32.

    Entry 0 is for the row `behind` rows ago, the last one for the row `ahead` rows from now. period: seconds of a
    row. The curve is exp(-|t / time| ^ 1.5): rounder than Cohen and Massaro's exponential at its top, where theirs
    would put a corner into the motion.
    """
    seconds = np.arange(-behind, ahead + 1)[:, None] * period
    # What is still to come is anticipated, what is past is carried over.
    before, after = np.array([_TIMES[name] for name in ARTICULATORS]).T / 1000
    fall = np.exp(-((np.abs(seconds) / np.where(seconds > 0, before, after)) ** 1.5))
    return (fall[:, None] * STRENGTHS).astype(np.float32)


def posteriors(logits: np.ndarray) -> np.ndarray:
    """Return the chance [n, 29] of each phone from the network's logits [n, 29]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def silence(rows: int) -> np.ndarray:
    """Return posteriors [rows, 29] of silence."""
    chances = np.zeros((rows, len(PHONES)), np.float32)
    chances[:, SILENCE] = 1
    return chances
