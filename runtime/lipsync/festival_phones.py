"""Phone classes of the symbols that festival's voices write, by phone set, and which of them are unvoiced stops.

The sets are those that the voices define (`PhoneSet.description`), with what their letter-to-sound rules
write besides.
"""

from functools import cache

from marotte.runtime.lipsync.phonesets import Shares, from_arpabet

_STOP_AND_HISS: Shares = (("TD", 0.3), ("SZ", 0.7))


def _diphthong(first: str, second: str) -> Shares:
    return ((first, 0.58), (second, 0.42))


def _table(**classes: str) -> dict[str, Shares]:
    """Turn class="symbols with spaces between" around."""
    return {symbol: ((phone, 1.0),) for phone, symbols in classes.items() for symbol in symbols.split()}


_SETS: dict[str, dict[str, Shares]] = {
    "italian": _table(
        SIL="#", PB="p b", M="m", FV="f v nf", TD="t d", N="n J", L="l L", SZ="s z", SH="S Z", CH="tS dZ", KG="k g",
        NG="ng", R="r", W="w", J="j", IY="i i1", EY="e e1", EH="E E1", AA="a a1", AO="O O1", OW="o o1", UW="u u1",
    ) | {"ts": _STOP_AND_HISS, "dz": _STOP_AND_HISS},
    "czech": _table(
        SIL="#", PB="p b", M="m", FV="f v", TD="t t~ d d~", N="n n~", L="l", SZ="s z", SH="s~ z~ r~ r~*",
        CH="c~ dz~", KG="k g", NG="n*", R="r", J="j", H="h ch _", IY="i i:", EH="e e:", AA="a a:", OW="o o:", UW="u u:",
    ) | {"c": _STOP_AND_HISS, "dz": _STOP_AND_HISS},
    "finnish": _table(
        SIL="# ##", PB="p p: b b:", M="m m:", FV="f f: v v:", TH="T T: D:", TD="t t: d d:", N="n n:", L="l l: L L:",
        SZ="s s: z:", SH="S S: Z:", KG="k k: g g:", NG="N N:", R="r r:", W="w w:", J="j j:", H="h h:", IY="i i:",
        EH="e e:", AE="@ @:", AA="a a:", OW="o o:", UW="u u:", YY="y y: 7 7:", AH="& &:",
    ),
    "catalan": _table(
        SIL="pau # _", PB="p b", M="m", FV="f", TD="t d", N="n J", L="l L", SZ="s z", SH="S Z", KG="k g", R="r rr",
        W="w", J="j", IY="i i1", EY="e e1", EH="E E1", AA="a a1", AH="ax", AO="O O1", OW="o o1", UW="u u1",
    ),
    "russian": _table(
        SIL="pau", PB="p pp b bb", M="m mm", FV="f ff v vv", TD="t tt d dd", N="n nn", L="l ll", SZ="s ss z zz",
        SH="sh sch zh", CH="ch", KG="k kk g gg", R="r rr", J="j", H="h hh", IY="ii", IH="yy i y", EY="ee", EH="e",
        AA="aa a", AH="ae ay", OW="oo", UW="uu u ur",
    ) | {"c": _STOP_AND_HISS},
    "indic": _table(
        SIL="pau", PB="p b bh", M="m", FV="f v", TD="T D t d th dh td tth ddh", N="n N", L="l L", SZ="s",
        SH="sh zh", CH="ch j", KG="k kh g gh", R="r R", W="w", J="y", H="h @", IY="iy", IH="ih", EH="eh", EY="ee",
        AA="aa", AH="a", OW="oh oo", UW="uh uw",
    ) | {
        "x": (("KG", 0.4), ("SZ", 0.6)),
        "ksh": (("KG", 0.4), ("SH", 0.6)),
        "sri": (("SH", 0.5), ("R", 0.2), ("IY", 0.3)),
        "ay": _diphthong("AA", "IH"),
        "aw": _diphthong("AO", "UW"),
    },
}  # fmt: skip

# The letter that stands for an unvoiced stop's place, whichever way a phone set spells it.
_STOPS = {
    "radio": {"p": "p", "t": "t", "k": "k"},
    "italian": {"p": "p", "t": "t", "k": "k"},
    "czech": {"p": "p", "t": "t", "t~": "t", "k": "k"},
    "finnish": {"p": "p", "p:": "p", "t": "t", "t:": "t", "k": "k", "k:": "k"},
    "catalan": {"p": "p", "t": "t", "k": "k"},
    "russian": {"p": "p", "pp": "p", "t": "t", "tt": "t", "k": "k", "kk": "k"},
    "indic": {"p": "p", "T": "t", "th": "t", "td": "t", "tth": "t", "k": "k", "kh": "k"},
}

PHONE_SETS = tuple(_STOPS)


@cache
def from_festival(phone: str, phone_set: str) -> Shares | None:
    """Return the classes of a phone of one of `PHONE_SETS` and each one's share of the sound.

    None for an unknown phone.
    """
    return from_arpabet(phone) if phone_set == "radio" else _SETS[phone_set].get(phone)


def plain_symbol(phone: str, phone_set: str) -> str:
    """Return `p`, `t` or `k` for an unvoiced stop, else "", as the corrections want to know."""
    return _STOPS[phone_set].get(phone, "")
