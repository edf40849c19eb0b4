"""Phone classes of IPA and ARPAbet symbols."""

import pytest

from marotte.errors import MarotteError
from marotte.models.viseme.phones import PHONES
from marotte.runtime.lipsync import espeak
from marotte.runtime.lipsync.phonesets import from_arpabet, from_ipa


@pytest.mark.parametrize(
    ("symbol", "language", "expected"),
    [
        ("p", "en", "PB"), ("bʰ", "hi", "PB"), ("pʰ", "hi", "PB"), ("ph", "cmn", "PB"), ("p-", "ko", "PB"),
        ("mʲ", "ru", "M"), ("m̩", "hak", "M"), ("f", "en", "FV"), ("ʋ", "nl", "FV"), ("θ", "en", "TH"),
        ("tʲ", "ru", "TD"), ("dˤ", "ar", "TD"), ("t̪", "vi", "TD"), ("th", "cmn", "TD"), ("ɲ", "it", "N"),
        ("kʰ", "hi", "KG"), ("ç", "de", "H"), ("ʁ", "fr", "H"), ("x", "de", "H"), ("sx", "sv", "SH"),
        ("tʃ", "en", "CH"), ("t͡ʃ", "lv", "CH"), ("tʃʰ", "bn", "CH"), ("tɕh", "cmn", "CH"), ("ts.h", "cmn", "CH"),
        ("ʧ", "en", "CH"), ("ss", "it", "SZ"), ("s.", "cmn", "SH"), ("r̝̊", "cs", "SH"), ("l̩", "cs", "L"),
        ("ɾ", "es", "TD"), ("r", "it", "R"), ("ɥ", "fr", "W"), ("ʲ", "ja", "J"), ("?a", "da", "AA"),
        ("iː", "en", "IY"), ("ĩ", "hi", "IY"), ("ɑ̃", "fr", "AA"), ("ɔ̃", "fr", "AO"), ("œ̃", "fr", "YY"),
        ("ɜː", "en", "ER"), ("ɜ", "de", "AH"), ("ɯ", "ko", "IH"), ("ɯ", "ja", "UW"), ("ɯᵝ", "ja", "UW"),
        ("y", "de", "YY"), ("y", "ru", "IH"), ("ʉː", "sv", "UW"), ("i.", "cmn", "IH"), ("o-", "cmn", "AH"),
        ("", "en", "SIL"),
    ],
)  # fmt: skip
def test_one_class(symbol, language, expected):
    assert from_ipa(symbol, language) == ((expected, 1.0),)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("aɪ", ("AA", "IH")), ("oʊ", ("OW", "UW")), ("ɑːɹ", ("AA", "R")), ("əl", ("AH", "L")),
        ("iou", ("IY", "OW", "UW")), ("onɡ", ("OW", "NG")), ("ts", ("TD", "SZ")), ("tsʰ", ("TD", "SZ")),
        ("ʦ", ("TD", "SZ")), ("tl#", ("TD", "L")), ("pf", ("PB", "FV")), ("mb", ("M", "PB")), ("ɐ̃ʊ̃", ("AH", "UW")),
    ],
)  # fmt: skip
def test_several_classes_in_order(symbol, expected):
    shares = from_ipa(symbol, "xx") or ()
    assert tuple(phone for phone, _ in shares) == expected
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert min(share for _, share in shares) > 0.15


def test_the_vowel_of_a_diphthong_is_longer_than_its_glide():
    shares = dict(from_ipa("aʊ", "de") or ())
    assert shares["AA"] > shares["UW"]
    assert dict(from_ipa("ua", "cmn") or ()) == shares


@pytest.mark.parametrize("symbol", ["ˈ", "ː", "(en)", "(cmn)", "˥", "̃"])
def test_what_shows_nothing_is_none(symbol):
    assert from_ipa(symbol, "en") is None


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        ("p", ("PB",)), ("AH0", ("AH",)), ("ax", ("AH",)), ("ER1", ("ER",)), ("axr", ("ER",)), ("dx", ("TD",)),
        ("OW1", ("OW", "UW")), ("ay", ("AA", "IH")), ("jh", ("CH",)), ("pau", ("SIL",)), ("SIL", ("SIL",)),
        ("<s>", ("SIL",)), ("[NOISE]", ("SIL",)), ("+NSN+", ("SIL",)), ("zh", ("SH",)),
    ],
)  # fmt: skip
def test_arpabet(phone, expected):
    shares = from_arpabet(phone) or ()
    assert tuple(name for name, _ in shares) == expected
    assert sum(share for _, share in shares) == pytest.approx(1)


def test_an_unknown_arpabet_phone_is_none():
    assert from_arpabet("qq") is None


TEXTS = {
    "en-us": "The quick brown fox jumps over the lazy dog, a judge thinks.",
    "de": "Zwölf Boxkämpfer jagen Eva quer über den Sylter Deich, möchten Äpfel.",
    "fr-fr": "Portez ce vieux whisky au juge blond qui fume, un bon vin, lui.",
    "pl": "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "ru": "Съешь ещё этих мягких французских булок да выпей чаю.",
    "cmn-latn-pinyin": "zhong1 guo2 ren2 chi1 si4 ge4 yu2 er2 xiong2 mao1 qing3 wen4",
    "ja": "きょうはパンをたべます、ちゅうごくのふゆ。",
    "ko": "안녕하세요 아버지가 빵을 먹고 있어요 의사",
    "hi": "भारत एक बड़ा देश है, छठी ऋतु में घड़ी ढूँढो।",
    "vi": "Tôi tên là Bắp, được ăn cơm trưa.",
    "ar": "كتب الولد الكتاب ثم ذهب إلى المدرسة",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "hu": "Árvíztűrő tükörfúrógép.",
    "sv": "Flygande bäckasiner söka hwila på mjuka tuvor, sju sjömän.",
    "sw": "Mbuzi na ndege wanakula chakula, ng'ombe pia.",
}


@pytest.mark.parametrize("voice", TEXTS)
def test_every_symbol_that_espeak_writes_has_classes(voice, monkeypatch):
    heard = {}

    def listen(symbol, language):
        heard[symbol] = from_ipa(symbol, language)
        return heard[symbol]

    monkeypatch.setattr(espeak, "from_ipa", listen)
    try:
        espeak.speak(TEXTS[voice], voice)
    except MarotteError as error:
        pytest.skip(str(error))
    assert len(heard) > 12
    assert [symbol for symbol, shares in heard.items() if not shares and not symbol.startswith("(")] == []
    for shares in filter(None, heard.values()):
        assert {phone for phone, _ in shares} <= set(PHONES)
        assert sum(share for _, share in shares) == pytest.approx(1)
