"""Remote text on the user's terminal."""

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but newline and tab, delete, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that reorder what is shown
    "\u2028\u2029\ud800-\udfff]"  # other line ends; lone surrogates, which no terminal can be sent
)


def safe_text(text: bytes | str) -> str:
    r"""`text` with nothing left in it that drives a terminal: `ESC [ 31 m` reads `\x1b[31m`.

    Bytes are taken as UTF-8, broken ones become U+FFFD. `\r\n` becomes `\n`; a lone carriage return,
    with which a line overwrites itself, is shown as `\r`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
