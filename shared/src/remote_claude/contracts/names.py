"""Names that people give: one line of text that shows what it is."""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a name can't hold: control characters, what turns text around or joins it unseen, line ends."""
ONE_LINE = "must be one line of text, without control characters"


def is_name(text: str) -> bool:
    """Whether people see all of a name: no control character, nothing that turns text around, and not only blanks."""
    return bool(text.strip()) and not any(unicodedata.category(c) in HIDDEN for c in text)
