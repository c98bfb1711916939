"""Texts that were decoded in the wrong encoding are repaired, and correct texts do not change."""

from __future__ import annotations

import itertools

import pytest

from jina_data.stages.mojibake import repair

CORRECT = """
Litera Â se scrie în interiorul cuvântului, iar Ă și Â sunt vocale.
A letra Ã leva til; a letra à leva crase. (Ã), «Ã», ‘Ã’, Ã/Õ
A menina disse: “IRMÃ” – “AMANHÃ” e “MAÇÃ”…
ATÉ AMANHÃ—E BOA NOITE. LÃ‑ALGODÃO, LÃ «MERINO», FÃ © 2020, FÃ Nº 1
Å¡ and Ã© and Ä°C are what you get; ® Ã® ™ Ã™
1 Å = 10⁻¹⁰ m; 5 Å², Å³, λ = 5000 Å ± 5 Å; 5×² and °C
Bokstaven ”Å”, »ÅRÅ«, »GÅ« og «BLÅ»
Á SKILTINU STENDUR »VIÐ« OG “AД OG ‚MEÐ‘, FLJÓTIÐ– HVERFIЮ
JI XWENDEKARÊ „AMADEYÎ“ Û »ÊDÎ« WÎ™
ANI NDEROVAPUKU „TÉRÓ ‹OÑEMBOTYVA'ERÃ› UPEVARî
„CASĂ” și „FATĂ“ – «MAMĂ»; MAMĂ—TATĂ
Český „ŘÁD“, »ŽENU«, Zpíváš€ VELMI NEPŘÍJEMNÉ²
“ĐÔ «ĐÃ» Tiếng “VIỆT” Chữ Â đứng sau chữ Ă
L’Été à l’Île – ‘Ô’, «GRÂCE», TRÈS BON CAFÉ À PARIS
être à² Paris, là³, voilà² une note
«СССР», „РФ“, “ВС РФ” и 5 °С – «С°»
ΑΒΓ «ΟΞΓ» “ΟΞ” ΒΓ” ΑΠΌ
/œ/ and [œ̃]; La lettre Œ, « Œ »; ŒUVRES, “CŒUR”
∀x ∈ ℝ: x² ≥ 0 ∧ ∃y ∉ ∅; ½–¾, £5–£10, ©2020
ಠ_ಠ (ノ°Д°）ノ︵ ┻━┻ ¯\\_(ツ)_/¯ Ò_Ó
DŽ § 5 Abs. 2 ¶ 3; 10 € à 20 €; ‰ † ‡
Ã mba'e iporãva
""".strip().split("\n")

WORDS = (
    """
Müller größer|naïve café|São Paulo, coração|señor, ¿qué?|Łódź źdźbło|Čeština příliš žluťoučký|țară și încă
Ελληνικά κείμενο|Русский текст|العربية نص|עברית טקסט|हिन्दी पाठ|ภาษาไทย|日本語の文章|中文句子
한국어 문장|Tiếng Việt rất hay
“quotes” – dash… it’s €5|İstanbul ığdır şöyle|Ålesund Ærø|Þór Æsir Ðað|ÉCOLE NATIONALE|C’est déjà là|10 °C ± 2
© 2020 Müller|5 £ – 10 €|LOTAÇÃO ESGOTADA|ESPAÑA
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.mark.parametrize("text", CORRECT)
def test_correct_texts_stay(text: str) -> None:
    assert repair(text) == text


@pytest.mark.parametrize("encoding", ["latin-1", "sloppy-windows-1252"])
@pytest.mark.parametrize("text", WORDS)
def test_utf_8_decoded_in_one_byte_is_repaired(text: str, encoding: str) -> None:
    assert repair(text.encode().decode(encoding)) == text


CAPITAL_WORDS = ("IRMÃ", "FÅ", "CASĂ", "VIÐ", "MÁS", "ČÁP", "WÎ", "TÖÖ", "ĐÃ", "FLÛ", "ZÁŘÍ", "ЮНЕСКО", "ΟΞΓ", "İŞÇİ")
AROUND = (
    "“{}”",
    "„{}“",
    "«{}»",
    "»{}«",
    "‘{}’",
    "« {} »",
    "{}…",
    "{} – ",
    "{}—A",
    "{}™",
    "{}®",
    "{}°",
    "{}²",
    "{}½ ",
    "•{}•",
)


@pytest.mark.parametrize(("word", "around"), list(itertools.product(CAPITAL_WORDS, AROUND)))
def test_signs_beside_capitals_stay(word: str, around: str) -> None:
    text = f"AAA {around.format(word)} BBB, aaa {around.format(word)} bbb."
    assert repair(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KÃ–LN", "KÃ–LN"),  # a word in KÃ and a dash?
        ("FÃœR KÃ–LN", "FÜR KÖLN"),
        ("sÃ£o “IRMÃ”", "são “IRMÃ”"),
        ("â€œHelloâ€ he said", "“Hello” he said"),
        ("th\x8eorie, r\x99le \x88 la fois", "théorie, rôle à la fois"),
        ("Ã  la carte, dÃ©jÃ  vu", "à la carte, déjà vu"),
        ("c-raterÂ® and 100 Â°C", "c-rater® and 100 °C"),
    ],
)
def test_ambiguous_places_are_repaired_in_broken_texts(text: str, expected: str) -> None:
    assert repair(text) == expected
