"""Labelled speech in a hundred languages by espeak-ng, through its library's phoneme events."""

import ctypes
from ctypes import POINTER, c_char, c_char_p, c_int, c_short, c_ubyte, c_uint, c_void_p
from functools import cache
from threading import Lock

import numpy as np
from scipy.signal import resample_poly

from marotte.errors import MarotteError
from marotte.runtime.lipsync.corrections import Phone, espeak_spans
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.phonesets import from_ipa

_LIBRARY = "libespeak-ng.so.1"

# Numbers of espeak-ng's interface (speak_lib.h).
_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEMES_IN_IPA = 2, 1, 2
_DONT_EXIT = 0x8000
_CHARACTERS_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_LIST_ENDS, _PHONEME = 0, 7


class _Id(ctypes.Union):
    _fields_ = [("number", c_int), ("name", c_char_p), ("string", c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", c_int),
        ("unique_identifier", c_uint),
        ("text_position", c_int),
        ("length", c_int),
        ("audio_position", c_int),
        ("sample", c_int),
        ("user_data", c_void_p),
        ("id", _Id),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("languages", c_void_p),
        ("identifier", c_char_p),
        ("gender", c_ubyte),
        ("age", c_ubyte),
        ("variant", c_ubyte),
        ("spare", c_ubyte),
        ("score", c_int),
        ("spare_pointer", c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, POINTER(_Event))


class _Espeak:
    """The library, of which a process has one: it speaks with one voice, to one listener, at a time."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL(_LIBRARY)
        except OSError:
            raise MarotteError(f"{_LIBRARY} was not found: install the Debian package espeak-ng") from None
        self.library.espeak_ListVoices.restype = POINTER(POINTER(_Voice))
        options = _PHONEME_EVENTS | _PHONEMES_IN_IPA | _DONT_EXIT
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
        if self.rate <= 0:
            raise MarotteError("espeak-ng found no data: install the Debian package espeak-ng-data")
        self.listener = _Callback(self._listen)  # held, or it would be collected
        self.library.espeak_SetSynthCallback(self.listener)
        self.voices = self._voices()
        self.variants = tuple(sorted(identifier.removeprefix("!v/") for _, identifier in self._listed(b"variant")))
        self.lock = Lock()

    def speak(self, text: str, name: str, settings: dict[int, int]) -> tuple[np.ndarray, list[tuple[float, str]]]:
        """Return the sound [n] int16 and when which symbol begins, in seconds."""
        with self.lock:
            self.sound: list[np.ndarray] = []
            self.events: list[tuple[float, str]] = []
            if self.library.espeak_SetVoiceByName(name.encode()):
                raise MarotteError(f"espeak-ng could not load its voice {name!r}: install it again")
            for parameter, value in settings.items():
                self.library.espeak_SetParameter(parameter, value, 0)
            data = text.encode()
            self.library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARACTERS_UTF8, None, None)
            self.library.espeak_Synchronize()
            return np.concatenate([*self.sound, np.zeros(0, np.int16)]), self.events

    def _listen(self, samples: "ctypes._Pointer[c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            self.sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _LIST_ENDS:
            event = events[index]
            if event.type == _PHONEME:
                # Eight bytes, without an end where the symbol fills them.
                symbol = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                self.events.append((event.sample / self.rate, symbol.decode("utf-8", "ignore")))
            index += 1
        return 0

    def _voices(self) -> dict[str, str]:
        """The library's own name of the voice for each language: the one that claims it most."""
        best: dict[str, tuple[int, str]] = {}
        for languages, identifier in self._listed(None):
            for priority, language in languages:
                best[language] = min(best.get(language, (256, "")), (priority, identifier))
        return {language: identifier for language, (_, identifier) in sorted(best.items())}

    def _listed(self, languages: bytes | None) -> list[tuple[list[tuple[int, str]], str]]:
        wanted = None
        if languages:
            held = ctypes.create_string_buffer(languages)
            wanted = ctypes.byref(_Voice(languages=ctypes.addressof(held)))
        listed = self.library.espeak_ListVoices(wanted)
        found, index = [], 0
        while listed[index]:
            voice = listed[index].contents
            found.append((_languages(voice.languages), voice.identifier.decode()))
            index += 1
        return found


def _languages(address: int) -> list[tuple[int, str]]:
    """Read espeak-ng's list of languages: a byte of priority and a name, again and again, then a zero."""
    languages = []
    while priority := c_ubyte.from_address(address).value:
        name = ctypes.string_at(address + 1)
        languages.append((priority, name.decode()))
        address += len(name) + 2
    return languages


_LOADING = Lock()


def _espeak() -> _Espeak:
    with _LOADING:
        return _load()


@cache
def _load() -> _Espeak:
    return _Espeak()


def voices() -> tuple[str, ...]:
    """Return the languages that espeak-ng speaks, as `en-us`; MarotteError where it is not installed."""
    return tuple(_espeak().voices)


def variants() -> tuple[str, ...]:
    """Return the speakers that any language may be spoken by, as `f5`; MarotteError where not installed."""
    return _espeak().variants


def speak(
    text: str, voice: str = "en-us", *, rate: int = 175, pitch: int = 50, pitch_range: int = 50
) -> LabelledSpeech:
    """Return `text` spoken by espeak-ng, with its phones.

    voice: a language of `voices`, and maybe a speaker of `variants`: `de`, `en-us+f5`. rate: words a minute,
    80 to 450. pitch, pitch_range: 0 to 99. The library keeps the state of a voice's flutter and breath, so a call
    made again sounds a little different; the same calls in a new process give the same, bit for bit.
    Raises MarotteError where espeak-ng is missing or does not know the voice.
    """
    espeak = _espeak()
    language, plus, variant = voice.partition("+")
    if language not in espeak.voices:
        raise MarotteError(f"espeak-ng's voice {language!r} is unknown: use one of {', '.join(espeak.voices)}")
    if plus and variant not in espeak.variants:
        raise MarotteError(f"espeak-ng's variant {variant!r} is unknown: use one of {', '.join(espeak.variants)}")
    settings = {_RATE: rate, _PITCH: pitch, _PITCH_RANGE: pitch_range}
    sound, events = espeak.speak(text, espeak.voices[language] + plus + variant, settings)
    family = language.split("-")[0]
    phones = _phones(events, len(sound) / espeak.rate, family)
    samples = (resample_poly(sound.astype(np.float32), 320, 441) / 32768).astype(np.float32)
    samples = np.clip(samples, -1, 1)
    return LabelledSpeech(samples, espeak_spans(samples, phones), text, family, voice, "espeak")


def _phones(events: list[tuple[float, str]], duration: float, language: str) -> list[Phone]:
    """Return the phones of espeak-ng's events; each lasts until the next. What shows nothing is left out."""
    seen = [(start, symbol, classes) for start, symbol in events if (classes := from_ipa(symbol, language))]
    ends = [*(start for start, _, _ in seen[1:]), duration]
    return [Phone(start, end, symbol, classes) for (start, symbol, classes), end in zip(seen, ends, strict=True)]
