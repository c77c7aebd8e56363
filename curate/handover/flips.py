"""Which pictures may be mirrored: not those whose text names a side, and not those with writing in them.

Flipping half of all pictures is the cheapest augmentation there is, and it makes "a dog left of a cat" a lie and a sign
unreadable. So CLIP was trained without; a list of words keeps it for the rest: of 10,000 alt texts of the web .5 % name
a side and 7.3 % tell of writing, of 1,168 that were written with care for text books 9.5 % and 27 %. The list errs on
the side of no flip: "right" is also what is correct, and inches look like quotes. Where a word is a common one in
another language (Turkish `sol`, Spanish for sun) only its longer forms are listed. 10,000 captions take .1 s of one
core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.fuse_texts import plain_texts
from curate.config import require_range
from curate.errors import ShardError

__all__ = ["FLIP_REASONS", "SIDES", "WRITING", "count_refusals", "flip_refusals"]

FLIP_REASONS: Mapping[str, str] = {
    "text_names_a_side": "a text says left or right, or which way something turns",
    "text_tells_of_writing": "a text quotes, or tells of words, numbers or signs in the picture",
    "picture_has_writing": "writing was found in the picture",
    "picture_has_boxes": "boxes belong to the picture, which would lie elsewhere",
}
"""Why a picture must not be mirrored, in the order in which they are given."""

TEXT_RATIO = ("text_area_ratio", "text_ratio")
"""Columns with the share of the picture that is writing, 0 to 1 (`filters/text_in_image.py` writes the first)."""
OCR = ("ocr_text", "ocr")
"""Columns with the words that were read in the picture."""
BOXES = ("boxes", "bboxes", "objects")
"""Columns with boxes, beside those of captioners, whose names end in `_phrases`."""

SIDES: Mapping[str, str] = {
    "en": r"left|right|(?:left|right)(?:most|wards?|hand|handed|side)|(?:anti ?|counter ?)?clockwise",
    "de": r"link(?:s|e[rnms]?|erhand)|recht(?:s|e[rnms]?|erhand)|linksseitig|rechtsseitig",
    "nl": r"linker\pL*|rechter\pL*|links\pL?|rechts\pL?|linksom|rechtsom",
    "fr": r"gauches?|droites?",
    "es": r"izquierd[ao]s?|derech[ao]s?",
    "it": r"sinistr[aeio]|destr[aeio]",
    "pt": r"esquerd[ao]s?|direit[ao]s?",
    "ca": r"esquerr[ae]s?|dret[ae]s?",
    "ro": r"st[âa]ng(?:a|ă|i|ii)|drea?pt(?:a|ă|ul|ei)",
    "no": r"venstre|høyre",
    "da": r"højre",
    "sv": r"vänst(?:er|ra)|hög(?:er|ra)",
    "fi": r"vasen|vasem\pL+|vasempaan|oike(?:a|alla|alle|alta|an|assa|asta|anpuol\pL*)",
    "pl": r"lew(?:o|a|y|e|ej|ego|ą|ym|ych)|praw(?:o|a|y|e|ej|ego|ą|ym|ych)",
    "cs": r"vlevo|vpravo|zleva|zprava|doleva|doprava|lev(?:á|é|ý|ou|ém|ého|ým)|prav(?:á|é|ý|ou|ém|ého|ým)",
    "hu": r"balra|jobbra|(?:bal|jobb) ?(?:oldal|kéz|kez|fel|al)\pL*",
    "tr": r"solda\pL*|solunda\pL*|soldan|sağ\pL*|sol (?:taraf|el|kol|alt|üst|köşe)\pL*",
    "ru": r"с?лева|с?права|[вн]а?лево|[вн]а?право|лево|право|(?:лев|прав)(?:ый|ая|ое|ой|ую|ом|ого|ых|ым|ыми|ые)",
    "uk": r"ліворуч|праворуч|зліва|вліво|лів(?:ий|а|ої|ій|ому|у)|прав(?:ий|а|ої|ій|ому|у)",
    "bg": r"вляво|вдясно|наляво|надясно|отляво|отдясно|ляв[аоият]+|десн[аоият]+",
    "el": r"αριστερ\pL+|δεξι\pL+",
    "id": r"kiri|kanan",
    "vi": r"(?:bên|phía|tay|góc|mé) (?:\pL+ )?(?:trái|phải)",
}
"""Words for sides by language (RE2), in small letters; whatever is no letter stands for a space."""

SIDES_WITHIN = (
    "左|右|ひだり|みぎ",  # Chinese, Japanese
    "왼|오른",  # Korean
    "يسار|يمين|اليسرى|اليمنى|أيسر|أيمن|الأيسر|الأيمن",  # Arabic
    "چپ|راست",  # Persian, Urdu
    "שמאל|ימין|ימני|ימנית",  # Hebrew
    "बाएँ|बाएं|बाईं|बायाँ|बायां|बायें|बायीं|दाएँ|दाएं|दाईं|दायाँ|दायां|दायें|दायीं|दाहिन",  # Hindi
    "বাম|বাঁ|ডান",  # Bengali
    "ซ้าย|ขวา",  # Thai
)
"""The same where words are not set apart, or take syllables before and after; found anywhere."""

WRITING: Mapping[str, str] = {
    "en": r"signs?|signposts?|signage|texts?|reads?|reading|words?|wording|letters?|lettering|written|writing|writes?"
    r"|handwritten|handwriting|numbers?|numerals?|numbered|digits?|logos?|labels?|labell?ed|titled?|slogans?|captions?"
    r"|captioned|inscriptions?|inscribed|engraved|graffiti|posters?|banners?|billboards?|placards?|plaques?|newspapers?"
    r"|magazines?|menus?|maps?|clocks?|watches|screenshots?|keyboards?|(?:license|licence|number) plates?|book covers?"
    r"|spells?|says|saying",
    "de": r"geschrieben|texte?n?|plakate?n?|uhr|landkarte|buchstaben?|zahlen?|ziffern?",
    "nl": r"borden|bordje|tekst\pL*|opschrift|geschreven|letters|cijfers?|klok",
    "fr": r"panneaux?|textes?|enseignes?|inscriptions?|écrit\pL*|lettres?|chiffres?|affiches?|horloges?|cartes?",
    "es": r"letreros?|cartel|carteles|textos?|escrit[ao]s?|letras?|números?|reloj|mapas?|inscripci\pL+",
    "it": r"scritt[aeio]|cartell[oi]|testo|testi|lettere|insegn[ae]|numer[oi]|orologi\pL*|mapp[ae]",
    "pt": r"placas?|letreiros?|textos?|escrit[ao]s?|letras?|números?|relógios?|mapas?|cartaz\pL*",
    "pl": r"napis\pL*|tekst\pL*|szyld\pL*|znak\pL*|liter\pL*|zegar\pL*|plakat\pL*",
    "sv": r"skylt\pL*|text(?:er|en|erna)?|bokst\pL+|klocka\pL*|skrivet",
    "no": r"skilt\pL*|tekst\pL*|bokstav\pL*|klokke\pL*|skrevet|plakat\pL*",
    "ru": r"надпис\pL+|вывеск\pL+|текст\pL*|табличк\pL+|букв\pL+|цифр\pL+|написан\pL*|часы|плакат\pL*",
    "id": r"tulisan|teks|tertulis|papan nama|huruf|angka",
    "tr": r"tabela\pL*|yazı\pL*|metin|harf\pL*",
}
"""Words for writing in the picture, as SIDES."""
WRITING_WITHIN = (
    "schild|schrift",  # German, at the end of many words
    "文字|字样|字樣|字幕|招牌|标志|標誌|标语|標語|标牌|写着|寫著|写有",  # Chinese
    "海报|海報|时钟|時鐘|地图|地圖|車牌|车牌",
    "看板|書かれ|書いて|ロゴ|標識|ポスター|時計",  # Japanese
    "글자|간판|문구|글씨|표지판|적혀|로고|시계",  # Korean
    "لافتة|مكتوب|كتابة|نص ",  # Arabic
)
QUOTES = '["“”„«»「」『』]'
_SIDE = f" (?:{'|'.join(SIDES.values())}) |{'|'.join(SIDES_WITHIN)}"
_WRITING = f" (?:{'|'.join(WRITING.values())}) |{'|'.join(WRITING_WITHIN)}"
Texts: TypeAlias = "pa.Array | pa.ChunkedArray"


def flip_refusals(texts: Texts, columns: pa.Table, max_text_ratio: float = 0.01) -> pa.Array:
    """Why each of n pictures must not be mirrored: string (n) of FLIP_REASONS, null where it may.

    `texts`: string, or list of string where a picture has several, all of which count; a null names nothing. `columns`
    has n rows: of what is known of the pictures those columns are read that are there (`text_area_ratio` above
    `max_text_ratio`, words that were read, boxes). Raises ShardError for texts of another kind.
    """
    require_range("max_text_ratio", max_text_ratio, 0, 1)
    rows = len(texts)
    row, flat = _flat(texts)
    words = _words(flat)
    found = {
        "text_names_a_side": _any(rows, row, _matches(words, _SIDE)),
        "text_tells_of_writing": _any(rows, row, _matches(words, _WRITING) | _matches(flat, QUOTES)),
        "picture_has_writing": _writing(columns, rows, max_text_ratio),
        "picture_has_boxes": _boxes(columns, rows),
    }
    codes = np.full(rows, -1, np.int8)
    for code, reason in reversed(list(enumerate(FLIP_REASONS))):
        codes[found[reason]] = code
    return pa.array(list(FLIP_REASONS)).take(pa.array(codes, mask=codes < 0))


def count_refusals(refusals: pa.Array) -> Counter[str]:
    """Rows `in`, and `flip_refused.REASON` for each reason that was given."""
    counts = Counter({"in": len(refusals)})
    for entry in pc.value_counts(refusals.drop_null()).to_pylist():
        counts[f"flip_refused.{entry['values']}"] += entry["counts"]
    return counts


def _flat(texts: Texts) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """The row of each text, int64 (m), and the texts, string (m), nulls left out."""
    whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    rows = np.arange(len(whole))
    if pa.types.is_list(whole.type) or pa.types.is_large_list(whole.type):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(whole), 0)).astype(np.int64)
        rows, whole = np.repeat(rows, lengths), whole.flatten()
    if not (pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type) or pa.types.is_null(whole.type)):
        raise ShardError(f"texts are a column of {texts.type}, and must be text or lists of it; name another column")
    plain = pa.array(plain_texts(pa.chunked_array([whole.drop_null()])), pa.large_string())
    return rows[np.asarray(whole.is_valid())], plain


def _words(texts: pa.Array) -> pa.Array:
    """Texts in small letters, with a space around each word."""
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), r"[^\pL\pM]+", " ")
    edge = pa.scalar("", plain.type)
    return pc.binary_join_element_wise(edge, plain, edge, pa.scalar(" ", plain.type))


def _matches(texts: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(texts, pattern), bool)


def _any(rows: int, row: npt.NDArray[np.int64], hit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    found = np.zeros(rows, bool)
    found[row[hit]] = True
    return found


def _writing(columns: pa.Table, rows: int, max_ratio: float) -> npt.NDArray[np.bool_]:
    found = np.zeros(rows, bool)
    for name in TEXT_RATIO:
        if name in columns.column_names:
            ratio = np.asarray(pc.fill_null(columns[name].cast(pa.float64()), 0.0))
            found |= ~(ratio <= max_ratio)
    for name in OCR:
        found |= _filled(columns, name, rows)
    return found


def _boxes(columns: pa.Table, rows: int) -> npt.NDArray[np.bool_]:
    found = np.zeros(rows, bool)
    for name in columns.column_names:
        if name in BOXES or name.endswith("_phrases"):
            found |= _filled(columns, name, rows)
    return found


def _filled(columns: pa.Table, name: str, rows: int) -> npt.NDArray[np.bool_]:
    """Where a column has a text that is not empty, a list with items, or any other value."""
    if name not in columns.column_names:
        return np.zeros(rows, bool)
    values = columns[name]
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        filled = pc.greater(pc.list_value_length(values), 0)
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        filled = pc.not_equal(pc.utf8_trim_whitespace(values), "")
    else:
        filled = values.is_valid()
    return np.asarray(pc.fill_null(filled, False), bool)
