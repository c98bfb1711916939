"""Recognizes texts that stand for a missing text: placeholders such as "N/A", and texts of punctuation only."""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.stages.mojibake import re2_class
from jina_data.stages.rows import IntArray

_AS_WRITTEN = frozenset(
    r"NULL null NA nan NaN NAN #NA NaT nil NIL \N None none NONE TODO TODO: ToDo n.d. n.c. s.d.".split()  # noqa: SIM905
)
"""Placeholders that mean something in another case: German "Null" is zero, Spanish "Todo" is all, "Na" is sodium."""

_ANY_CASE = frozenset(
    word
    for line in """
    n/a | n.a. | n. a. | #n/a | <na> | <null> | (null) | [null] | {null} | <none> | (none) | [none] | <nan>
    undefined | [undefined] | (undefined) | [object object] | #value! | #ref! | #name? | #div/0! | #null! | #num!
    to do: | tbd | t.b.d. | tba | fixme | to be determined | to be done | to be announced | placeholder | [deleted]
    [removed] | (deleted) | (removed) | <deleted> | <removed> | [deleted by user] | [ removed by reddit ]
    [removed by moderator] | [deleted by moderator] | [blank] | (blank) | <blank> | [empty] | (empty) | <empty>
    [missing] | (missing) | <missing> | <unk> | [unk] | [pad] | <pad> | [no text] | [no answer] | (no answer)
    no answer | not available | not applicable | no data | no data available | no text | no content | no description
    no description available | description not available | no title | [no title] | (no title) | untitled document
    lorem ipsum | - | -- | --- | – | — | ― | k.a. | k. a. | k.a | keine angabe | keine angaben | keine daten
    nicht verfügbar | nicht zutreffend | [gelöscht] | [entfernt] | entfällt | n/d | non disponible | non applicable
    sans objet | non renseigné | non communiqué | aucune donnée | pas de réponse | [supprimé] | no disponible
    no aplica | no aplicable | sin datos | sin respuesta | sin información | [eliminado] | [borrado]
    não disponível | não se aplica | sem dados | sem resposta | sem informação | [excluído] | [removido]
    non disponibile | non applicabile | nessun dato | [eliminato] | [rimosso] | niet beschikbaar
    niet van toepassing | n.v.t. | nvt | geen gegevens | geen antwoord | [verwijderd] | ej tillgänglig
    ej tillämpligt | saknas | ikke tilgjengelig | ikke relevant | ikke tilgængelig | ei saatavilla | ei sovellu
    brak danych | brak odpowiedzi | nie dotyczy | n.d | [usunięto] | není k dispozici | neuvedeno
    nie je k dispozícii | nincs adat | nem elérhető | nu este disponibil | nu se aplică | fără date | mevcut değil
    veri yok | uygulanamaz | belirtilmemiş | [silindi] | không có dữ liệu | không áp dụng | tidak tersedia
    tidak ada data | tidak berlaku | δεν υπάρχει | μη διαθέσιμο | δ/υ | н/д | н.д. | нет данных | нет ответа
    не указано | не применимо | неприменимо | недоступно | [удалено] | [удалён] | немає даних | не вказано
    [видалено] | няма данни | нема података | غير متوفر | غير متاح | لا ينطبق | لا توجد بيانات | [محذوف] | לא זמין
    לא רלוונטי | אין נתונים | ناموجود | موجود نیست | उपलब्ध नहीं | उपलब्ध नहीं है | लागू नहीं | তথ্য নেই
    ไม่มีข้อมูล | ไม่ระบุ | 暂无 | 暂无数据 | 无数据 | 不适用 | 不適用 | 無資料 | 未填写 | 待定 | 待补充
    [已删除] | [已刪除] | 该内容已被删除
    データなし
    該当なし | 未入力 | 未定 | 未設定 | [削除済み] | 해당 없음 | 해당없음 | 데이터 없음
    정보 없음 | 미정 | [삭제됨] | 삭제된 댓글입니다
    """.splitlines()
    for word in (part.strip() for part in line.split(" | "))
    if word
)
"""Placeholders in any case."""

MAX_CHARS = max(map(len, _AS_WRITTEN | _ANY_CASE))
_FACE = r"[:;]['-]?[()\[\]]+\s*\z"
_LOREM = r"(?i)\A\W*lorem ipsum dolor\b"
_SIGNS = "%‰‱&@#*/\\§¶†‡※٪؉؊﹪％＆＠＃＊／＼﹟﹠﹡﹫"
"""Punctuation by Unicode's category that means something by itself."""


def placeholders(values: pa.LargeStringArray) -> IntArray:
    """Return 1 for each of N texts that is a placeholder, else 0."""
    texts = pc.utf8_trim_whitespace(values)
    is_short = pc.less_equal(pc.utf8_length(texts), MAX_CHARS)
    short = texts.filter(is_short)
    as_written = pc.is_in(short, value_set=pa.array(sorted(_AS_WRITTEN), pa.large_string()))
    any_case = pc.is_in(pc.utf8_lower(short), value_set=pa.array(sorted(_ANY_CASE), pa.large_string()))
    out: IntArray = pc.match_substring_regex(texts, _LOREM).to_numpy(zero_copy_only=False).astype(np.int64)
    out[is_short.to_numpy(zero_copy_only=False)] |= pc.or_(as_written, any_case).to_numpy(zero_copy_only=False)
    return out


def punctuation_only(values: pa.LargeStringArray) -> IntArray:
    """Return 1 for each of N texts with only punctuation such as ???, a rule such as =====, or nothing; else 0.

    Letters, numbers, emoji, and signs such as +, %, & or € are no punctuation. A single mark may be an answer, too.
    """
    faces = pc.match_substring_regex(values, _FACE)
    matches = pc.and_not(pc.match_substring_regex(values, _punctuation()), faces)
    out: IntArray = matches.to_numpy(zero_copy_only=False).astype(np.int64)
    return out


@lru_cache(maxsize=1)
def _punctuation() -> str:
    """Return an RE2 pattern of texts without a visible character, with at least two marks, or of a repeated sign."""
    points = [*range(0x3100), *range(0xFE00, 0x10000), *range(0x10000, sys.maxunicode)]
    kinds = {chr(point): unicodedata.category(chr(point))[0] for point in points}
    marks = {c for c, kind in kinds.items() if kind == "P"} - set(_SIGNS) | {"\ufffd"}
    blanks = {c for c, kind in kinds.items() if kind in "ZCM" and ord(c) < 0x10000} | {"\t", "\n", "\r"}
    mark, blank, filler = re2_class(marks), re2_class(blanks), re2_class(marks | blanks)
    rules = "|".join(rf"{filler}*(?:\x{{{ord(sign):x}}}{filler}*){{4,}}" for sign in "=+~*#/\\<>|^`&@%$°¬¦¨´")
    return rf"\A(?:{blank}*|{filler}*{mark}{filler}*{mark}{filler}*|{filler}*[…‥⋯]{filler}*|{rules})\z"
