"""Text that can be read: a font with the glyphs, or words that the font has."""

import unicodedata
from functools import lru_cache

from PIL import ImageFont

# Pillow's own font has the letters of English; these, which Pillow looks for in the system's folders, have others.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",  # macOS
    "Hiragino Sans GB.ttc",  # macOS
    "AppleSDGothicNeo.ttc",  # macOS
)
OWN = ""  # Pillow's own font
NO_CHARACTER = "\U0010ffff"  # no font has a glyph for it

Font = ImageFont.FreeTypeFont


@lru_cache(maxsize=256)
def font(name: str, size: int) -> Font:
    """Open a font in a size in pixels: Pillow's own, or one of `SYSTEM_FONTS`.

    Raises:
        OSError: if the system lacks it.
    """
    if name != OWN:
        return ImageFont.truetype(name, size)
    own = ImageFont.load_default(size)
    assert isinstance(own, Font)  # the bitmap font of a Pillow without FreeType has no sizes
    return own


@lru_cache(maxsize=4096)
def readable(text: str, otherwise: str) -> tuple[str, str]:
    """Find a text, as close to the given as possible, and the name of a font that has all its glyphs.

    Args:
        text: in any script.
        otherwise: in ASCII; taken if no font has the script.

    Returns:
        The text, or it without accents, or `otherwise`; and the font's name.
    """
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    for name in (OWN, *SYSTEM_FONTS):
        if _has(name, line):
            return line, name
    plain = "".join(part for part in unicodedata.normalize("NFKD", line) if not unicodedata.combining(part))
    return (plain, OWN) if _has(OWN, plain) else (otherwise, OWN)


def _has(name: str, text: str) -> bool:
    if not text.isprintable():
        return False
    try:
        missing = _glyph(name, NO_CHARACTER)
    except OSError:
        return False
    return all(part == " " or _glyph(name, part) != missing for part in text)


@lru_cache(maxsize=4096)
def _glyph(name: str, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(name, 24).getmask(character)
    return mask.size, bytes(mask)
