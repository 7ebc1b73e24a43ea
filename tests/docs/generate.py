"""Write the pages that come from the code; ``python -m tests.docs.generate`` does it.

The tests compare each page with what its function returns.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tests.docs.markdown import ROOT
from transports.wire.errors import CATALOGUE

MADE = "This page is made from the code; `python -m tests.docs.generate` writes it anew."

LIMIT_MODULES = (
    "appliance.limits",
    "appliance.gateway.limits",
    "appliance.directory.limits",
    "appliance.policy.limits",
    "appliance.disposal.limits",
    "appliance.evidence.limits",
    "appliance.sites.limits",
    "sync.limits",
    "transports.limits",
    "transports.quic.limits",
    "store.limits",
    "store.vault.limits",
)
"""Every module whose purpose is to name limits; a test looks that none is missing."""


class Limit(NamedTuple):
    """One named limit: its number, and the sentence that stands under it in the code."""

    name: str
    value: Any
    meaning: str


def errors_page() -> str:
    """Return docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Every error that a client can meet: the frame `err` carries its code, its text in the",
        "session's language, and whether the same request may succeed later. Codes never change",
        "their meaning; new ones may come. The catalogue is",
        "[transports/wire/errors.py](../transports/wire/errors.py); where each code occurs is told",
        "in [protocol.md](protocol.md).",
        "",
        MADE,
    ]
    for family in dict.fromkeys(code.partition(".")[0] for code in CATALOGUE):
        lines += ["", f"## {family}", "", "| code | retry | English | 中文 |", "|---|---|---|---|"]
        for code, entry in CATALOGUE.items():
            if code.startswith(family + "."):
                retry = "yes" if entry.retryable else "no"
                lines.append(f"| `{code}` | {retry} | {entry.en} | {entry.zh} |")
    return "\n".join(lines) + "\n"


def limits_page() -> str:
    """Return docs/architecture/limits.md."""
    lines = [
        "# Limits",
        "",
        "Nothing here grows without a bound: each queue, size, count and time has a name, a unit",
        "and one place in the code. What clients meet is told in",
        "[protocol.md](../protocol.md#limits), what an operator may set otherwise in",
        "[configuration.md](../configuration.md).",
        "",
        MADE,
    ]
    for name in LIMIT_MODULES:
        path = name.replace(".", "/") + ".py"
        lines += ["", f"## [{path}](../../{path})", ""]
        lines += ["| name | value | meaning |", "|---|---|---|"]
        for limit in limits_of(name):
            lines.append(f"| `{limit.name}` | {shown(limit.value)} | {limit.meaning} |")
    return "\n".join(lines) + "\n"


def limits_of(name: str) -> Iterator[Limit]:
    """Yield the public numbers of a module, and those of its dataclasses' defaults, in order."""
    module = importlib.import_module(name)
    tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
    for target, meaning in _described(tree.body):
        value = getattr(module, target, None)
        if is_number(value) and not target.startswith("_"):
            yield Limit(target, value, meaning)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _limits_of_class(module, node)


def _limits_of_class(module: ModuleType, node: ast.ClassDef) -> Iterator[Limit]:
    kind = getattr(module, node.name)
    if not is_dataclass(kind):
        return
    defaults = {each.name: each.default for each in fields(kind)}
    for target, meaning in _described(node.body):
        if is_number(defaults.get(target)):
            yield Limit(target, defaults[target], meaning)


def _described(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each assigned name with the string that follows it, as one line."""
    for number, node in enumerate(body):
        target: ast.expr | None = None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name):
            after = body[number + 1] if number + 1 < len(body) else None
            yield target.id, _sentence(after)


def _sentence(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        text = " ".join(str(node.value.value).split())
        return text.replace("``", "`").replace("|", "\\|")
    return ""


def is_number(value: object) -> bool:
    """Tell whether a value is a limit: a number, but no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: float) -> str:
    """Return a number as people read it: 16,384 or 0.25."""
    return f"{value:,}" if isinstance(value, int) or value % 1 else f"{value:,.0f}"


PAGES: dict[str, Callable[[], str]] = {
    "docs/errors.md": errors_page,
    "docs/architecture/limits.md": limits_page,
}
"""The pages made here, by their place in the repository."""


def main() -> None:
    """Write every page."""
    for place, page in PAGES.items():
        (ROOT / place).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
