"""The 29 phone classes that a mouth can show, and what is known of each.

One class holds the phones that look and sound alike in any language: all of p, b and their implosives are
PB, all close front spread vowels IY. The order is that of the network's logits and never changes.
"""

import numpy as np

PHONES = tuple("SIL PB M FV TH TD N L SZ SH CH KG NG R W J H IY IH EY EH AE AA AH AO OW UW YY ER".split())
INDEX = {phone: index for index, phone in enumerate(PHONES)}

SILENCE = INDEX["SIL"]
VOWELS = tuple("IY IH EY EH AE AA AH AO OW UW YY ER".split())
BILABIALS = ("PB", "M")
SIBILANTS = ("SZ", "SH", "CH")
# Back vowels with rounded lips; YY holds the front ones (y, oe).
BACK_ROUNDED = ("AO", "OW", "UW")

_OPENNESS = {
    "SIL": 0, "PB": 0, "M": 0, "FV": 0.12, "TH": 0.25, "TD": 0.25, "N": 0.25, "L": 0.3, "SZ": 0.15, "SH": 0.2,
    "CH": 0.2, "KG": 0.3, "NG": 0.3, "R": 0.25, "W": 0.12, "J": 0.25, "H": 0.4, "IY": 0.3, "IH": 0.4, "EY": 0.45,
    "EH": 0.6, "AE": 0.8, "AA": 1, "AH": 0.55, "AO": 0.75, "OW": 0.5, "UW": 0.25, "YY": 0.25, "ER": 0.4,
}  # fmt: skip

# How far the lips part at each class in clear speech, [29] from 0 (shut) to 1 (the open vowel of "father").
OPENNESS = np.array([_OPENNESS[phone] for phone in PHONES], np.float32)


def mask(phones: tuple[str, ...]) -> np.ndarray:
    """Return [29] bool: which classes are among `phones`."""
    return np.isin(PHONES, phones)
