"""The same scenes in seven other languages, so that language filters meet real words with real endings.

Each sentence names the two groups in the nominative ("at the top ..., below it ..."), which keeps grammar to a small
table: a noun knows which column of the adjective and of the numeral agrees with it, once alone and once in number.
These captions are labelled as another language; they are never parsed back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curate.toyweb.scene import Group, Scene

__all__ = ["LANGUAGES", "translate"]


@dataclass(frozen=True)
class _Language:
    """`numbers` and the forms in `colors` are columns; a noun is (one, many, column for one, column for many)."""

    above: str
    left: str
    group: str
    numbers: tuple[tuple[str, str, str], ...]
    colors: Mapping[str, str]
    shapes: Mapping[str, tuple[str, str, int, int]]


_GERMAN = _Language(
    above="Oben {a} und darunter {b}",
    left="Links {a} und rechts daneben {b}",
    group="{number} {color} {noun}",
    numbers=(("ein", "zwei", "drei"),) * 3,
    colors={
        "red": "roter rotes rote",
        "blue": "blauer blaues blaue",
        "green": "grüner grünes grüne",
        "yellow": "gelber gelbes gelbe",
        "orange": "orangefarbener orangefarbenes orangefarbene",
        "purple": "violetter violettes violette",
    },
    shapes={
        "circle": ("Kreis", "Kreise", 0, 2),
        "square": ("Quadrat", "Quadrate", 1, 2),
        "triangle": ("Dreieck", "Dreiecke", 1, 2),
        "star": ("Stern", "Sterne", 0, 2),
    },
)
_FRENCH = _Language(
    above="En haut il y a {a} et en dessous {b}",
    left="À gauche on voit {a} et à droite {b}",
    group="{number} {noun} {color}",
    numbers=(("un", "deux", "trois"), ("une", "deux", "trois")) * 2,
    colors={
        "red": "rouge rouge rouges rouges",
        "blue": "bleu bleue bleus bleues",
        "green": "vert verte verts vertes",
        "yellow": "jaune jaune jaunes jaunes",
        "orange": "orange orange orange orange",
        "purple": "violet violette violets violettes",
    },
    shapes={
        "circle": ("cercle", "cercles", 0, 2),
        "square": ("carré", "carrés", 0, 2),
        "triangle": ("triangle", "triangles", 0, 2),
        "star": ("étoile", "étoiles", 1, 3),
    },
)
_SPANISH = _Language(
    above="Arriba hay {a} y debajo hay {b}",
    left="A la izquierda hay {a} y a la derecha hay {b}",
    group="{number} {noun} {color}",
    numbers=(("un", "dos", "tres"), ("una", "dos", "tres")) * 2,
    colors={
        "red": "rojo roja rojos rojas",
        "blue": "azul azul azules azules",
        "green": "verde verde verdes verdes",
        "yellow": "amarillo amarilla amarillos amarillas",
        "orange": "naranja naranja naranjas naranjas",
        "purple": "morado morada morados moradas",
    },
    shapes={
        "circle": ("círculo", "círculos", 0, 2),
        "square": ("cuadrado", "cuadrados", 0, 2),
        "triangle": ("triángulo", "triángulos", 0, 2),
        "star": ("estrella", "estrellas", 1, 3),
    },
)
_ITALIAN = _Language(
    above="In alto vediamo {a} e sotto {b}",
    left="A sinistra vediamo {a} e a destra {b}",
    group="{number} {noun} {color}",
    numbers=(("un", "due", "tre"), ("una", "due", "tre")) * 2,
    colors={
        "red": "rosso rossa rossi rosse",
        "blue": "azzurro azzurra azzurri azzurre",
        "green": "verde verde verdi verdi",
        "yellow": "giallo gialla gialli gialle",
        "orange": "arancione arancione arancioni arancioni",
        "purple": "viola viola viola viola",
    },
    shapes={
        "circle": ("cerchio", "cerchi", 0, 2),
        "square": ("quadrato", "quadrati", 0, 2),
        "triangle": ("triangolo", "triangoli", 0, 2),
        "star": ("stella", "stelle", 1, 3),
    },
)
_RUSSIAN = _Language(  # two to four: the noun in the genitive singular, the adjective by gender
    above="Сверху {a}, а снизу {b}",
    left="Слева {a}, а справа {b}",
    group="{number} {color} {noun}",
    numbers=(("один", "два", "три"), ("одна", "две", "три")) * 2,
    colors={
        "red": "красный красная красных красные",
        "blue": "синий синяя синих синие",
        "green": "зелёный зелёная зелёных зелёные",
        "yellow": "жёлтый жёлтая жёлтых жёлтые",
        "orange": "оранжевый оранжевая оранжевых оранжевые",
        "purple": "фиолетовый фиолетовая фиолетовых фиолетовые",
    },
    shapes={
        "circle": ("круг", "круга", 0, 2),
        "square": ("квадрат", "квадрата", 0, 2),
        "triangle": ("треугольник", "треугольника", 0, 2),
        "star": ("звезда", "звезды", 1, 3),
    },
)
_CHINESE = _Language(
    above="图片上方有{a}，下方有{b}",
    left="图片左边有{a}，右边有{b}",
    group="{number}个{color}的{noun}",
    numbers=(("一", "两", "三"),),
    colors={
        "red": "红色",
        "blue": "蓝色",
        "green": "绿色",
        "yellow": "黄色",
        "orange": "橙色",
        "purple": "紫色",
    },
    shapes={
        "circle": ("圆形", "圆形", 0, 0),
        "square": ("正方形", "正方形", 0, 0),
        "triangle": ("三角形", "三角形", 0, 0),
        "star": ("星星", "星星", 0, 0),
    },
)
_JAPANESE = _Language(
    above="上に{a}、下に{b}あります",
    left="左に{a}、右に{b}あります",
    group="{color}{noun}が{number}つ",
    numbers=(("一", "二", "三"),),
    colors={
        "red": "赤い",
        "blue": "青い",
        "green": "緑の",
        "yellow": "黄色い",
        "orange": "オレンジ色の",
        "purple": "紫色の",
    },
    shapes={
        "circle": ("丸", "丸", 0, 0),
        "square": ("四角", "四角", 0, 0),
        "triangle": ("三角", "三角", 0, 0),
        "star": ("星", "星", 0, 0),
    },
)
_LANGUAGES = {
    "de": _GERMAN,
    "fr": _FRENCH,
    "es": _SPANISH,
    "it": _ITALIAN,
    "ru": _RUSSIAN,
    "zh": _CHINESE,
    "ja": _JAPANESE,
}

LANGUAGES = tuple(_LANGUAGES)
"""ISO 639-1 codes that `translate` knows."""


def translate(scene: Scene, language: str) -> str:
    """The scene in one of LANGUAGES."""
    table = _LANGUAGES[language]
    template = table.above if scene.layout == "above" else table.left
    return template.format(a=_words(table, scene.first), b=_words(table, scene.second))


def _words(table: _Language, group: Group) -> str:
    one, many, column_one, column_many = table.shapes[group.shape]
    noun, column = (one, column_one) if group.count == 1 else (many, column_many)
    color = table.colors[group.color].split()[column]
    return table.group.format(number=table.numbers[column][group.count - 1], color=color, noun=noun)
