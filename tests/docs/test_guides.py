"""The guides' commands do what the guides say, in their order, on one demo; the others exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from cli.main import root
from tests.docs.markdown import ROOT, codes, sections
from tests.docs.test_readme import pattern
from tests.system.cli_program import Demo, Office, free_port

GUIDES = ("officer.md", "auditor.md", "branches.md")
PROGRAM = "strongroom "


def examples(guide: str) -> list[tuple[str, list[str]]]:
    """Return a guide's commands with the lines each is said to print."""
    found: list[tuple[str, list[str]]] = []
    for section in sections(ROOT / "docs" / guide):
        for fence in section.fences:
            if fence.language != "console":
                continue
            for line in fence.lines:
                if line.startswith("$ "):
                    found.append((line.removeprefix("$ "), []))
                else:
                    found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    demo = Demo(tmp_path_factory.mktemp("guides"), free_port())
    office = Office(demo.strongroom.folder)
    office.ok("chat", "--as", "bob", "--to", "alice", "--send", "Bed 4 is free")
    office.ok("chat", "--as", "alice", "--to", "bob", "--send", "Thank you")
    text = office.json("policy", "show")["text"].replace("180d", "90d")
    (office.folder / "policy.toml").write_text(text)
    yield office
    assert demo.stop() == 0, demo.log.read_text()


def test_the_guides_commands_print_what_they_say(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(office.folder)
    for command, lines in (example for guide in GUIDES for example in examples(guide)):
        assert command.startswith(PROGRAM)
        done = office.run(*shlex.split(command)[1:])
        assert done.returncode == 0, (command, done.stderr)
        assert re.fullmatch(pattern(lines), done.stdout), f"{command}\n{done.stdout}"


def mentioned(guide: str) -> Iterator[str]:
    """Yield the commands that a guide names in passing, or shows without their output."""
    for section in sections(ROOT / "docs" / guide):
        yield from (code for code in codes(section.text) if code.startswith(PROGRAM))
        for fence in section.fences:
            if fence.language == "sh":
                yield from "\n".join(fence.lines).replace("\\\n", " ").split("\n")


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_names_no_command_or_option_that_there_is_not(guide: str) -> None:
    named = list(mentioned(guide))
    assert named
    for command in named:
        check(shlex.split(command.split(" > ")[0])[1:])


def check(words: list[str]) -> None:
    """Look a command and its options up; raises ``NoSuchOption`` and ``LookupError``."""
    found: click.Command | None = root
    context = click.Context(root, info_name="strongroom")
    while isinstance(found, click.Group):
        if not words:
            return
        found = found.get_command(context, words.pop(0))
    if found is None:
        raise LookupError
    found.make_parser(click.Context(found)).parse_args(words)


@pytest.mark.parametrize("words", ["hold plaice", "nothing", "hold list --relesed"])
def test_a_command_or_option_that_there_is_not_is_found(words: str) -> None:
    with pytest.raises((LookupError, click.NoSuchOption)):
        check(words.split())
