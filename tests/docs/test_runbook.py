"""The runbook and the hardening guide say what is so: commands, findings, alarms, settings."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from collections.abc import Iterator

import pytest

from appliance.alerts import ALERTS
from appliance.config import SETTINGS
from appliance.events import EVENTS
from appliance.finding_kinds import KINDS
from store.errors import StoreError
from tests.docs.markdown import ROOT, Section, codes, sections
from tests.docs.test_guides import check
from tests.docs.test_readme import pattern
from tests.system.cli_program import Demo, Office, free_port

PAGES = ("runbook.md", "hardening.md")
PARTS = ("**You see**", "**It is over when**")
PROGRAM = "strongroom "
FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<content>.*?)^ *```$", re.MULTILINE | re.DOTALL)


def entries() -> list[Section]:
    return [each for each in sections(ROOT / "docs" / "runbook.md") if each.level == 2]


def fences(page: str, language: str) -> Iterator[list[str]]:
    """Yield the lines of a page's fences of a language, also of those inside a list."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    for match in FENCE.finditer(text):
        if match["language"] == language:
            yield textwrap.dedent(match["content"]).splitlines()


def examples(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yield a page's commands with the lines that each is said to print."""
    for lines in fences(page, "console"):
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        assert starts[0] == 0
        for start, end in itertools.pairwise((*starts, len(lines))):
            yield lines[start].removeprefix("$ "), lines[start + 1 : end]


def error_codes(kind: type[StoreError] = StoreError) -> Iterator[str]:
    yield kind.code
    for inner in kind.__subclasses__():
        yield from error_codes(inner)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    demo = Demo(tmp_path_factory.mktemp("runbook"), free_port())
    yield Office(demo.strongroom.folder)
    assert demo.stop() == 0, demo.log.read_text()


@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_the_page_says(
    office: Office, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(office.folder)
    found = list(examples(page))
    assert found
    for command, lines in found:
        assert command.startswith(PROGRAM)
        done = office.run(*shlex.split(command)[1:])
        assert done.returncode == 0, (command, done.stderr)
        assert re.fullmatch(pattern(lines), done.stdout), f"{command}\n{done.stdout}"


def named(page: str) -> Iterator[str]:
    """Yield the commands of ours that a page names or shows without their output."""
    for section in sections(ROOT / "docs" / page):
        yield from (code for code in codes(section.text) if code.startswith(PROGRAM))
    for lines in fences(page, "sh"):
        yield from (line for line in lines if line.startswith(PROGRAM))


def test_commands_and_options_that_are_named_exist() -> None:
    found = [command for page in PAGES for command in named(page)]
    assert len(found) > 20
    for command in found:
        check(shlex.split(command)[1:])


def test_every_alarm_and_every_runbook_of_a_finding_has_an_entry_with_its_parts() -> None:
    titles = {each.title for each in entries()}
    wanted = {alert.runbook for alert in ALERTS} | {
        kind.runbook for kind in KINDS.values() if kind.runbook
    }
    assert wanted == titles
    for entry in entries():
        assert all(part in entry.text for part in PARTS), entry.title


def test_an_entry_names_the_alarms_and_findings_that_lead_to_it() -> None:
    for entry in entries():
        told = set(codes(entry.text))
        for alert in ALERTS:
            assert alert.runbook != entry.title or alert.name in told, (entry.title, alert.name)
        for name, kind in KINDS.items():
            family = name.partition(".")[0] + ".…"
            is_told = name in told or family in told
            assert kind.runbook != entry.title or is_told, (entry.title, name)


@pytest.mark.parametrize("page", PAGES)
def test_findings_events_and_settings_that_are_named_exist(page: str) -> None:
    known = {*KINDS, *EVENTS, *SETTINGS, *error_codes()}
    families = {name.partition(".")[0] for name in known}
    for section in sections(ROOT / "docs" / page):
        for code in codes(section.text):
            if re.fullmatch(r"[a-z]+\.[a-z_]+", code) and code.partition(".")[0] in families:
                assert code in known, f"{section.title}: {code}"
