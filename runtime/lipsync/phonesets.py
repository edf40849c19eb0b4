"""Phone classes of the symbols that synthesisers, recognisers and dictionaries write.

A symbol becomes one class, or several in order with each one's share of the sound: a diphthong is two
vowels, an affricate of t and s is a stop and a hiss.
"""

import unicodedata
from functools import cache
from itertools import groupby

Shares = tuple[tuple[str, float], ...]

_LETTERS = {
    "PB": "pbɓʙʘ",
    "M": "mᵐ",
    "FV": "fvɱɸΦβʋⱱ",
    "TH": "θð",
    "TD": "tdʈɖɗɾɽǀǃǂ",
    "N": "nɳɲⁿ",
    "L": "lɫɬɭʎɮɺʟǁK",
    "SZ": "sz",
    "SH": "ʃʒɕʑʂʐɧSZ",
    "KG": "kgɡcɟqɢɠʄʛ",
    "NG": "ŋɴᵑN",
    "R": "rɹɻ",
    "W": "wʍɥ",
    "J": "jʝʲ",
    "H": "hɦʰħçxɣχXʁʀɰʔ?ʕʡʢʜ",
    "IY": "i",
    "IH": "ɪɨɯᵻɿʅ1",
    "EY": "e",
    "EH": "ɛε",
    "AE": "æ",
    "AA": "aɑɶA",
    "AH": "ʌəɘɐɤɞɜ",
    "AO": "ɔɒ",
    "OW": "o",
    "UW": "uʊʉ",
    "YY": "yʏøœɵ",
    "ER": "ɝɚ",
}
_CLASS = {letter: phone for phone, letters in _LETTERS.items() for letter in letters}
_VOWELS = set("IY IH EY EH AE AA AH AO OW UW YY ER".split())

# Letters that espeak-ng writes for another sound in one language.
_IN_LANGUAGE = {
    ("en", "ɜ"): "ER",  # elsewhere the German ending -er
    ("ja", "ɯ"): "UW",
    ("be", "y"): "IH",
    ("ru", "y"): "IH",
    ("uk", "y"): "IH",
    ("vi", "y"): "IH",
}

# Symbols, without length marks, that their letters do not spell.
_WHOLE = {
    "ɯᵝ": "UW",
    "sx": "SH",  # the Swedish sj
    "r̝": "SH",  # the Czech ř
    "r̝̊": "SH",
    "r.": "TD",
    "s.": "SH",  # retroflex, of pinyin
    "ts.": "CH",
    "ts.h": "CH",
    "o-": "AH",
    "i.": "IH",
    "i̪": "IH",
}
_LIGATURES = str.maketrans({"ʦ": "ts", "ʣ": "dz", "ʧ": "tʃ", "ʤ": "dʒ", "ʨ": "tɕ", "ʥ": "dʑ"})
_LENGTH_MARKS = str.maketrans("", "", "ːˑ:")

# A glide takes less of a diphthong than the vowel that it leads to or from.
_GLIDES = {"IY", "IH", "UW", "YY", "R"}
_GLIDE_SHARE = 0.42

_STOP_AND_HISS: Shares = (("TD", 0.3), ("SZ", 0.7))
_STOP_AND_LATERAL: Shares = (("TD", 0.4), ("L", 0.6))


@cache
def from_ipa(symbol: str, language: str) -> Shares | None:
    """Return the classes of an IPA symbol, as espeak-ng writes it, and each one's share of the sound.

    symbol: one phone with its marks (length, nasal, tone, palatal...); empty for a pause.
    language: as `ja`; a letter may stand for different sounds in different languages.
    None where nothing is to be seen: a mark that stands alone, a note such as `(en)`, an unknown letter.
    """
    if not symbol or symbol.isspace():
        return (("SIL", 1.0),)
    if symbol.startswith("("):
        return None
    plain = unicodedata.normalize("NFC", symbol.translate(_LIGATURES).translate(_LENGTH_MARKS))
    if plain in _WHOLE:
        return ((_WHOLE[plain], 1.0),)
    letters = [letter if letter in _CLASS else unicodedata.normalize("NFD", letter)[0] for letter in plain]
    letters = [letter for letter in letters if letter in _CLASS]
    if len(letters) > 1 and letters[-1] in "ʲhɦʰ":  # a mark of the letter before it
        letters.pop()
    phones = [_IN_LANGUAGE.get((language, letter)) or _CLASS[letter] for letter in letters]
    return _shares(phones) if phones else None


def _shares(phones: list[str]) -> Shares:
    """Return what the classes of one symbol's letters are together, and their shares of it."""
    if _VOWELS & set(phones):  # what is creaked or breathed is a vowel still
        phones = [phone for phone in phones if phone != "H"]
    if phones[-2:] == ["N", "KG"]:  # the ng of pinyin
        phones = [*phones[:-2], "NG"]
    phones = [phone for phone, _ in groupby(phones)]
    match phones:
        case [phone]:
            return ((phone, 1.0),)
        case ["TD", "SH"]:
            return (("CH", 1.0),)
        case ["TD", "SZ"]:
            return _STOP_AND_HISS
        case ["TD", "L"]:
            return _STOP_AND_LATERAL
        case ["M" | "N" | "NG", "PB" | "TD" | "KG"] | ["PB", "FV"]:
            return ((phones[0], 0.5), (phones[1], 0.5))
    if not _VOWELS & set(phones):  # a coloured consonant
        return ((phones[0], 1.0),)
    weights = [_GLIDE_SHARE if phone in _GLIDES else 1 - _GLIDE_SHARE for phone in phones]
    return tuple((phone, weight / sum(weights)) for phone, weight in zip(phones, weights, strict=True))


_ARPABET = {
    "pau": "SIL", "sil": "SIL", "h#": "SIL", "brth": "SIL", "ssil": "SIL",
    "p": "PB", "b": "PB", "m": "M", "em": "M", "f": "FV", "v": "FV", "th": "TH", "dh": "TH", "t": "TD", "d": "TD",
    "dx": "TD", "n": "N", "en": "N", "nx": "N", "l": "L", "el": "L", "s": "SZ", "z": "SZ", "sh": "SH", "zh": "SH",
    "ch": "CH", "jh": "CH", "k": "KG", "g": "KG", "ng": "NG", "r": "R", "w": "W", "wh": "W", "y": "J", "hh": "H",
    "hv": "H", "q": "H", "iy": "IY", "ih": "IH", "ix": "IH", "eh": "EH", "ae": "AE", "aa": "AA", "ah": "AH",
    "ax": "AH", "ax-h": "AH", "ao": "AO", "uh": "UW", "uw": "UW", "ux": "UW", "er": "ER", "axr": "ER",
}  # fmt: skip
_ARPABET_DIPHTHONGS = {
    "ey": ["EY", "IH"],
    "ay": ["AA", "IH"],
    "ow": ["OW", "UW"],
    "aw": ["AA", "UW"],
    "oy": ["AO", "IH"],
}


@cache
def from_arpabet(phone: str) -> Shares | None:
    """Return the classes of a phone of the radio and CMU sets and each one's share of the sound.

    Case and stress digits do not matter. Those of flite, of festival's American voices and of pocketsphinx,
    with its silences (`<s>`, `<sil>`, `[NOISE]`, `+NSN+`). None for an unknown phone.
    """
    name = phone.lower().rstrip("012")
    if name in _ARPABET_DIPHTHONGS:
        return _shares(_ARPABET_DIPHTHONGS[name])
    if name[:1] in ("<", "[", "+"):
        return (("SIL", 1.0),)
    return ((_ARPABET[name], 1.0),) if name in _ARPABET else None
