"""Training text for festival's voices: words by their frequency, in each voice's own language and script.

Words are drawn at random from wordfreq's lists, so no sentence of a test is ever among them. Telugu has no
list there: its words are made of syllables.
"""

import random
import unicodedata
from functools import cache

import wordfreq

COMMON, ALL = 250, 12000

# The word list of each language that is not English, and how the names of its letters begin.
_LISTS = {
    "it": ("it", "LATIN"),
    "cs": ("cs", "LATIN"),
    "fi": ("fi", "LATIN"),
    "ca": ("ca", "LATIN"),
    "ru": ("ru", "CYRILLIC"),
    "hi": ("hi", "DEVANAGARI"),
}
LANGUAGES = (*_LISTS, "te")

_TELUGU_CONSONANTS = "కఖగఘచజటడణతథదధనపఫబభమయరలవశషసహళ"
_TELUGU_VOWELS = "అఆఇఈఉఊఎఏఐఒఓఔ"
_TELUGU_SIGNS = ("", "", "ా", "ా", "ి", "ి", "ీ", "ు", "ు", "ూ", "ె", "ే", "ై", "ొ", "ో", "ౌ")
_TELUGU_DOUBLED = "కగచటడతదనపబమయలవస"
_VIRAMA, _ANUSVARA = "్", "ం"


def festival_texts(voice_language: str, rng: random.Random, count: int) -> list[str]:
    """Return `count` sentences of 5 to 12 words in one of LANGUAGES, now and then with a comma."""
    return [_sentence(voice_language, rng) for _ in range(count)]


def _sentence(language: str, rng: random.Random) -> str:
    said = [_word(language, rng) for _ in range(rng.randint(5, 12))]
    if rng.random() < 0.4:
        said[rng.randrange(1, len(said) - 1)] += ","
    return " ".join(said) + rng.choice(".?.")


def _word(language: str, rng: random.Random) -> str:
    if language == "te":
        return _telugu_word(rng)
    words = _words(*_LISTS[language])
    return words[rng.randrange(COMMON if rng.random() < 0.35 else len(words))]


@cache
def _words(language: str, script: str) -> list[str]:
    return [word for word in wordfreq.top_n_list(language, ALL) if all(_spells(letter, script) for letter in word)]


def _spells(letter: str, script: str) -> bool:
    return unicodedata.category(letter)[0] in "LM" and unicodedata.name(letter, "").startswith(script)


def _telugu_word(rng: random.Random) -> str:
    word = rng.choice(_TELUGU_VOWELS) if rng.random() < 0.2 else ""
    for _ in range(rng.randint(2, 4)):
        consonant = rng.choice(_TELUGU_CONSONANTS)
        if word and consonant in _TELUGU_DOUBLED and rng.random() < 0.2:
            consonant += _VIRAMA + consonant
        word += consonant + rng.choice(_TELUGU_SIGNS) + (_ANUSVARA if rng.random() < 0.1 else "")
    return word
