"""The PDF of an invoice or a credit note: `typst` on a template of ours, with the invoice as data, so that no text of it is run."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files

TEMPLATE = 2
"""Rises with every change of `invoice.typ`: an invoice names the template that it was made with."""


def renderer() -> str:
    """What makes the PDF: program, version and template."""
    return f"typst {version('typst')} invoice {TEMPLATE}"


def pdf(contents: bytes) -> bytes:
    """The PDF/A-3b of an invoice's canonical JSON. The same bytes for the same contents and renderer."""
    import typst  # 20 MB that only issuing needs

    made = typst.compile(
        _template(),
        format="pdf",
        sys_inputs={"invoice": contents.decode()},
        pdf_standards=["a-3b"],
        ignore_system_fonts=True,
    )
    return bytes(made)


@lru_cache(maxsize=1)
def _template() -> bytes:
    return files(__package__).joinpath("invoice.typ").read_bytes()
