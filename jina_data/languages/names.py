"""Names of languages, to suggest the label that a user meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from jina_data.kernels.fasttext_file import PREFIX


def nearest_labels(label: str, labels: Sequence[str]) -> list[str]:
    """Return up to three of the `labels` to suggest in place of an unknown `label`, the most probable first."""
    folded = label.strip().casefold().removeprefix(PREFIX)
    stem = folded.replace("_", "-").split("-")[0]
    codes = (stem, CODE_OF.get(folded, ""), CODE_OF.get(stem, ""), _SAME.get(stem, ""))
    exact = [name for name in labels if name.casefold() == folded]
    exact += [code for code in codes if code in labels]
    # Labels of GlotLID and NLLB are three letters and a script: eng_Latn.
    stems = (stem, *(name for name, code in CODE_OF.items() if code in codes))
    prefixed = [name for stem in stems for name in labels if name.startswith(f"{stem}_")]
    misspelt = [CODE_OF[name] for name in difflib.get_close_matches(folded, CODE_OF, 2, 0.8)]
    close = [code for code in misspelt if code in labels] or difflib.get_close_matches(folded, labels, 3, 0.6)
    return list(dict.fromkeys(exact or prefixed or close))[:3]


_SAME = {"nb": "no", "cmn": "zh", "iw": "he", "in": "id", "fil": "tl", "jp": "ja", "cz": "cs", "dk": "da", "kr": "ko"}
"""Other codes of languages, with the labels of lid.176."""

_NAMES = """
af afrikaans afr, als alemannic, am amharic amh, an aragonese, ar arabic ara arb, as assamese, ast asturian,
az azerbaijani aze, ba bashkir, be belarusian bel, bg bulgarian bul, bn bengali bangla ben, bo tibetan, br breton,
bs bosnian bos, ca catalan cat, ceb cebuano, ckb sorani, co corsican, cs czech ces cze, cv chuvash, cy welsh cym,
da danish dan, de german deutsch deu ger, dv divehi, el greek ell gre, en english eng, eo esperanto epo,
es spanish castilian spa, et estonian est, eu basque eus, fa persian farsi fas, fi finnish fin, fr french fra fre,
fy frisian, ga irish gle, gd gaelic, gl galician glg, gu gujarati guj, gv manx, he hebrew heb, hi hindi hin,
hr croatian hrv, ht haitian, hu hungarian hun, hy armenian hye, ia interlingua, id indonesian ind, io ido,
is icelandic isl, it italian ita, ja japanese jpn, jv javanese, ka georgian kat, kk kazakh kaz, km khmer khm,
kn kannada kan, ko korean kor, ku kurdish, ky kyrgyz kirghiz, la latin lat, lb luxembourgish, lo lao,
lt lithuanian lit, lv latvian lav, mg malagasy, mk macedonian mkd, ml malayalam mal, mn mongolian mon,
mr marathi mar, ms malay msa, mt maltese mlt, my burmese mya, ne nepali nep, nl dutch nld dut, nn nynorsk nno,
no norwegian bokmål nob nor, oc occitan, or odia oriya, os ossetian, pa punjabi panjabi pan, pl polish pol,
ps pashto, pt portuguese por, qu quechua, rm romansh, ro romanian ron, ru russian rus, sa sanskrit, sd sindhi,
si sinhala sin, sk slovak slk, sl slovenian slv, so somali som, sq albanian sqi, sr serbian srp, su sundanese,
sv swedish swe, sw swahili swa swh, ta tamil tam, te telugu tel, tg tajik, th thai tha, tk turkmen,
tl tagalog filipino tgl, tr turkish tur, tt tatar, ug uyghur, uk ukrainian ukr, ur urdu urd, uz uzbek uzb,
vi vietnamese vie, vo volapük, yi yiddish, yo yoruba yor, yue cantonese, zh chinese mandarin zho chi
"""

CODE_OF = {name: code for code, *names in map(str.split, _NAMES.split(",")) for name in names}
"""The code of a language by its English name and three-letter codes; used for suggestions only."""
"""The label of lid.176 for each name and code of a language."""
