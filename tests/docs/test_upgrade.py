"""The guides to upgrades and backups name every error and finding that can be met there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

CODE = re.compile(r'"((?:upgrade|signature|drill|store\.newer)[._][a-z_.]+)"')

WHERE = {
    "upgrade.md": [
        *sorted((ROOT / "appliance" / "upgrade").glob("*.py")),
        ROOT / "cli" / "commands" / "upgrade.py",
        ROOT / "store" / "minisign.py",
        ROOT / "store" / "schema.py",
    ],
    "backup.md": [ROOT / "appliance" / "drill.py"],
}


@pytest.mark.parametrize("page", WHERE)
def test_every_code_is_in_its_guide(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    codes = {code for path in WHERE[page] for code in CODE.findall(_source(path))}
    assert codes
    assert sorted(code for code in codes if f"`{code}`" not in text) == []


def _source(path: Path) -> str:
    """Return the code without the schemas of answers, which look like codes."""
    return re.sub(r"emit_json\(\s*\"[a-z.]+\"", "", path.read_text("utf-8"))
