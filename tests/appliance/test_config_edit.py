"""One setting changes, everything people wrote stays; what cannot be changed is refused."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import ConfigError
from appliance.config_edit import with_setting, write_settings
from appliance.config_text import example

NAME = "replicas.directories"


def changed(text: str, *directories: str) -> str:
    return with_setting(text, NAME, directories)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[replicas]\ndirectories = ["/a"]\n'),
        ("# mine", '# mine\n\n[replicas]\ndirectories = ["/a"]\n'),
        (
            '[site]\nname = "x" # a\n',
            '[site]\nname = "x" # a\n\n[replicas]\ndirectories = ["/a"]\n',
        ),
        (
            "[ replicas ] # here\n# why\n\n[site]\n",
            '[ replicas ] # here\ndirectories = ["/a"]\n# why\n\n[site]\n',
        ),
        (
            '[replicas]\ndirectories = [\n  "/b", # old\n]\n[site]\n',
            '[replicas]\ndirectories = ["/a"]\n[site]\n',
        ),
    ],
)
def test_the_rest_of_the_file_stays_as_it_was(before: str, after: str) -> None:
    assert changed(before, "/a") == after
    assert changed(after, "/a") == after


@pytest.mark.parametrize(
    "text", ["replicas = {directories = []}\n", 'replicas.directories = ["/b"]\n', "[[replicas]\n"]
)
def test_what_a_machine_cannot_change_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        changed(text, "/a")


SECTIONS = st.dictionaries(
    st.sampled_from(["site", "replicas", "log", "keys"]),
    st.dictionaries(
        st.sampled_from(["name", "directories", "directory"]),
        st.text(max_size=9) | st.integers(0, 9) | st.lists(st.text(max_size=5), max_size=3),
        max_size=3,
    ),
    max_size=4,
)


def written(document: dict[str, dict[str, Any]]) -> str:
    lines = []
    for section, table in document.items():
        lines.append(f"[{section}]\n")
        lines += [f"{key} = {_toml(value)}\n" for key, value in table.items()]
    return "".join(lines)


def _toml(value: Any) -> str:
    from appliance.config_text import to_toml

    return to_toml(tuple(value) if isinstance(value, list) else value)


@given(document=SECTIONS, directories=st.lists(st.text(max_size=9), max_size=3))
def test_any_file_has_the_new_value_and_all_others(
    document: dict[str, dict[str, Any]], directories: list[str]
) -> None:
    expected = {**document, "replicas": {**document.get("replicas", {})}}
    expected["replicas"]["directories"] = directories
    assert tomllib.loads(changed(written(document), *directories)) == expected


def test_the_example_file_can_be_edited() -> None:
    assert tomllib.loads(changed(example(), "/a", "/b"))["replicas"]["directories"] == ["/a", "/b"]


def test_a_file_keeps_its_mode_and_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "strongroom.toml"
    write_settings(path, "[site]\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    (tmp_path / "strongroom.toml.new").write_text("left over")
    write_settings(path, "[log]\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("[log]\n", 0o640)
    assert [each.name for each in tmp_path.iterdir()] == ["strongroom.toml"]
