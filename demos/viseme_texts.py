"""Training text for the viseme network: words by their frequency, in the languages that espeak-ng can read.

Words are drawn at random from wordfreq's lists, so no sentence of a test is ever among them.
"""

import random
from functools import cache

import wordfreq
from pypinyin import Style, lazy_pinyin

COMMON, ALL = 250, 15000

# espeak-ng's voices by the language of the word list; variants of a voice (`+f2`) are added elsewhere.
ESPEAK_VOICES = {
    "en": ("en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"),
    "zh": ("cmn-latn-pinyin",),
    "ja": ("ja",),
    "de": ("de",),
    "es": ("es", "es-419"),
    "fr": ("fr-fr", "fr-be"),
    "pt": ("pt", "pt-br"),
    "nl": ("nl",),
    "pl": ("pl",),
    "sv": ("sv",),
    "tr": ("tr",),
    "ru": ("ru",),
    "id": ("id",),
    "ko": ("ko",),
    "fi": ("fi",),
    "hi": ("hi",),
    "cs": ("cs",),
    "ar": ("ar",),
    "da": ("da",),
    "bn": ("bn",),
}
_KANA = {chr(code) for code in (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x30FC)}


def sentence(language: str, rng: random.Random) -> str:
    """Return 4 to 12 words of a language, now and then with a comma, ready for espeak-ng (Chinese as pinyin)."""
    words = _words(language)
    said = [words[rng.randrange(COMMON if rng.random() < 0.4 else len(words))] for _ in range(rng.randint(4, 12))]
    if language == "zh":
        said = [" ".join(lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True)) for word in said]
    if rng.random() < 0.4:
        said[rng.randrange(len(said) - 1)] += ","
    return ("" if language == "ja" else " ").join(said) + rng.choice(".?!.")


@cache
def _words(language: str) -> list[str]:
    words = [word for word in wordfreq.top_n_list(language, ALL) if word.replace("'", "").isalpha()]
    if language == "ja":
        words = [word for word in words if set(word) <= _KANA]
    elif language == "zh":
        words = [word for word in words if all("一" <= letter <= "鿿" for letter in word)]
    return words
