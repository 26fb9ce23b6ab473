"""The table of `make bench`: for people on the terminal and in `docs/benchmarks.md`, for programs in JSON."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

HEAD = """\
# Benchmarks

Written by `make bench`, which measures everything below in one run; `make bench FIGURE=3,5` measures some and leaves
this page alone. What counts are the ratios: value and limit are of the same run on the same machine, and everything,
load included, shares its processors. Values are medians, with the range of the runs in brackets. `build/benchmarks.json`
has the same for programs.

{machine}, {date}.
"""


def line(name: str, reading: Document) -> str:
    """A reading for the terminal."""
    text = f"{name:>10}  {reading['what']:<72} {number(reading['value']):>10} {reading['unit']}"
    if "goal" not in reading:
        return text
    return f"{text}, {against(reading)}: {mark(reading)}"


def against(reading: Document) -> str:
    return f"{reading['ratio']:.2f} of {number(reading['limit'])}, {reading['goal']}"


def mark(reading: Document) -> str:
    return "met" if reading["met"] else "MISSED"


def number(value: float) -> str:
    """Three digits, or all of a large one's."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ranged(reading: Document) -> str:
    low, high = map(number, reading["range"])
    return number(reading["value"]) if low == high else f"{number(reading['value'])} ({low} .. {high})"


@dataclass
class Report:
    """What one run found."""

    machine: str
    date: str
    limits: list[Document] = field(default_factory=list)
    figures: dict[str, list[Document]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, module: str, readings: list[Document], seconds: float) -> None:
        self.modules[name], self.seconds[name] = module, seconds
        if name == "limits":
            self.limits = readings
        else:
            self.figures[name] = readings

    def document(self) -> Document:
        """One row a figure; a figure with several readings has all of them in `readings`, of which the row is the first."""
        return {
            "machine": self.machine,
            "date": self.date,
            "limits": self.limits,
            "figures": [
                readings[0] | ({"readings": readings} if len(readings) > 1 else {})
                for readings in self.figures.values()
                if readings
            ],
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }

    def page(self) -> str:
        """As Markdown."""
        parts = [HEAD.format(machine=self.machine, date=self.date)]
        parts.append("\n## Limits of the machine\n\n| | value | |\n|---|---|---|\n")
        parts += [f"| {limit['what']} | {ranged(limit)} | {limit['unit']} |\n" for limit in self.limits]
        parts.append(
            "\n## Figures\n\n| figure | | value | | limit | ratio | goal | |\n|---|---|---|---|---|---|---|---|\n"
        )
        parts += [
            f"| {name} | {r['what']} | {ranged(r)} | {r['unit']} | {number(r['limit'])} | {r['ratio']:.2f} | {r['goal']} |"
            f" {'met' if r['met'] else '**missed**'} |\n"
            for name, readings in self.figures.items()
            for r in readings
        ]
        parts.append("\n## How they are measured\n")
        parts += [
            f"\n**{name}** ([`{module}.py`](../tests/benchmarks/{module}.py), {self.seconds[name]:.0f} s). {method(module)}\n"
            for name, module in self.modules.items()
        ]
        return "".join(parts)


def method(module: str) -> str:
    """What the module says of itself."""
    return inspect.getdoc(importlib.import_module(module)) or ""
