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


_STYLE = re.compile("\x1b\\[((?:\\d{0,3}[;:])*\\d{0,3})m")
_DROPPED = re.compile("\x1b\\[[\\d;?]*[Kl h]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[()][0-9A-B]")
_CONCEAL = "8"


def output_text(text: str, *, styled: bool) -> str:
    r"""`text` as a program printed it for a terminal, with its colours if `styled`, and nothing that moves the cursor.

    Of a line that overwrites itself by carriage returns, as progress bars do, the last state is shown. Erasing to the end
    of a line, cursor visibility and titles have no effect here, so they go. Everything else is written out by `safe_text`.
    """
    text = _DROPPED.sub("", text.replace("\r\n", "\n"))
    lines = [_last_state(line) for line in text.split("\n")]
    parts = _STYLE.split("\n".join(lines))
    # The pattern has one group: every second part is the parameters of a style.
    return "".join(
        safe_text(part) if number % 2 == 0 else _style(part) if styled else ""
        for number, part in enumerate(parts)
    )


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state]
    return states[-1] if states else ""


def _style(parameters: str) -> str:
    """Hidden text is no style."""
    return "" if _CONCEAL in re.split("[;:]", parameters) else f"\x1b[{parameters}m"


def _shown(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
