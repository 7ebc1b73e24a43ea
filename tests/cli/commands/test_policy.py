"""The policy on the command line: presets, plans, and what takes two officers."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.administration.disposal import list_presets
from appliance.disposal.replies import PolicyChanged
from appliance.policy.presets import PRESETS
from appliance.policy.text import write_policy
from tests.cli.recorded import Recorded

HOSPITAL = write_policy(PRESETS["hospital"])
SHOWN = {
    "version": 3,
    "in_force": True,
    "hash": "ab" * 32,
    "preset": "hospital",
    "notice": "a starting point, to be confirmed by counsel",
    "text": HOSPITAL,
}
AT_MS = 1_795_509_000_000


def test_the_policy_in_force_is_toml_that_can_be_imported(server: Recorded, tmp_path: Path) -> None:
    server.will_answer("policy.show", SHOWN)
    done = server.run("policy", "show")
    assert done.stdout == HOSPITAL
    assert "Version 3, in force; SHA-256 abab" in done.stderr
    assert server.json("policy", "show")["version"] == 3
    assert server.asked[0].arguments == {"version": 0, "preset": ""}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"version": 0}, "No policy was ever set"),
        ({"in_force": False}, "Version 3, no longer in force"),
    ],
)
def test_a_policy_says_whether_it_is_in_force(
    server: Recorded, answer: dict[str, object], said: str
) -> None:
    server.will_answer("policy.show", SHOWN | answer)
    assert said in server.run("policy", "show").stderr


def test_a_preset_is_shown_with_its_caution(server: Recorded) -> None:
    server.will_answer("policy.show", SHOWN | {"version": 0, "in_force": False})
    done = server.run("policy", "show", "--preset", "hospital")
    assert "Preset hospital: a starting point, to be confirmed by counsel." in done.stderr
    assert server.asked[0].arguments == {"version": 0, "preset": "hospital"}
    both = server.run("policy", "show", "--preset", "hospital", "--version", "1")
    assert both.exit_code == 2


async def presets() -> dict[str, object]:
    from appliance.administration.contract import Arguments

    return await list_presets(None, Arguments())  # type: ignore[arg-type]  # needs no host


def test_presets_are_listed_with_their_basis(server: Recorded) -> None:
    import trio

    server.will_answer("policy.list", trio.run(presets))
    told = server.ok("policy", "list")
    assert "hospital" in told
    assert "HIPAA 164.316, NEN 7513." in told
    assert "Each preset is a starting point, to be confirmed by counsel." in told
    (keep,) = (line for line in told.splitlines() if line.startswith("keep"))
    assert keep.split("  ")[1:] != []
    assert "every class" in keep
    assert "never" in keep


def test_a_preset_is_signed_as_the_text_that_was_shown(server: Recorded) -> None:
    server.will_answer("policy.show", SHOWN | {"version": 0}, SHOWN | {"version": 3})
    server.will_answer("policy.set", PolicyChanged(4, 0, ()))
    told = server.ok("policy", "set", "hospital", "--reason", "first", "--as", "dave")
    assert told == "Version 4 of the policy is in force.\n"
    (asked,) = server.signed()
    assert (asked.command, asked.by) == ("policy.set", "dave")
    assert asked.arguments == {"text": HOSPITAL, "base": 3, "reason": "first"}


def test_what_keeps_less_waits_for_a_second_officer(server: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(HOSPITAL)
    server.will_answer("policy.show", SHOWN)
    loosens = ("class standard: 30d instead of 180d",)
    server.will_answer("policy.set", PolicyChanged(0, 7, loosens))
    told = server.ok("policy", "import", str(path), "--reason", "less", "--as", "dave")
    assert "it takes two officers" in told
    assert "  - class standard: 30d instead of 180d" in told
    assert "strongroom request approve 7" in told
    server.will_answer("policy.set", PolicyChanged(0, 7, loosens, AT_MS))
    told = server.ok("policy", "import", str(path), "--reason", "less", "--as", "erin")
    assert "it is in force from 2026-11-24 08:30:00 UTC" in told
    assert "strongroom request reject 7" in told


def test_a_policy_comes_from_stdin(server: Recorded) -> None:
    server.will_answer("policy.show", SHOWN)
    server.will_answer("policy.set", PolicyChanged(4, 0, ()))
    arguments = ("policy", "import", "-", "--reason", "x", "--as", "dave")
    assert server.json(*arguments, stdin=HOSPITAL)["version"] == 4
    assert server.signed()[0].arguments["text"] == HOSPITAL


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[[rule]]\nname = "a"\nmax = "10 d"\n', 'rule "a", max:'),
        (b"[[rule]\n", "not TOML"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_every_mistake_of_a_policy_is_told_before_anybody_is_asked(
    server: Recorded, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    for arguments in (("import", str(path), "--reason", "x", "--as", "dave"), ("plan", str(path))):
        done = server.run("policy", *arguments)
        assert done.exit_code == 2
        assert said in done.stderr
    assert server.asked == []


def test_a_policy_that_is_too_large_to_be_signed_is_told_so(server: Recorded) -> None:
    server.will_answer("policy.show", SHOWN)
    text = HOSPITAL + "# a comment\n" * 1_500
    done = server.run("policy", "import", "-", "--reason", "x", "--as", "dave", stdin=text)
    assert done.exit_code == 2
    assert "larger than can be signed (16,384 bytes)" in done.stderr
    assert server.signed() == []


def test_a_plan_says_what_would_end_and_why(server: Recorded) -> None:
    rows = [
        ("standard", 20_781, "destroy", "maximum", 1_200),
        ("standard", 20_781, "keep", "hold", 3),
        ("standard", 0, "hide", "maximum", 1),
    ]
    names = ("retention_class", "day", "outcome", "because", "records")
    server.will_answer(
        "policy.plan",
        {
            "rows": [dict(zip(names, row, strict=True)) for row in rows],
            "oldest": [{"retention_class": "standard", "day": 20_000, "records": 1}],
            "proven_at": AT_MS,
            "suspended": False,
        },
    )
    lines = server.ok("policy", "plan").splitlines()
    assert lines[0] == "Proven time: 2026-11-24 08:30:00 UTC; ages count up to it."
    assert lines[3].split("  ") == [
        *("standard", "2026-11-24", "1,200", "", "destroyed", "their maximum is reached"),
    ]
    assert "a legal hold" in lines[4]
    assert "not dated" in lines[5]
    assert lines[7] == "In all: 1,200 destroyed, 1 hidden, 3 kept."
    assert (
        lines[8] == "Oldest surviving record of class standard: 2024-10-04 (1 record in the class)."
    )


@pytest.mark.parametrize(
    ("proven_at", "suspended", "said"),
    [(0, False, "No time is proven yet"), (AT_MS, True, "Destruction is suspended")],
)
def test_a_plan_says_why_nothing_would_end(
    server: Recorded, proven_at: int, suspended: bool, said: str
) -> None:
    answer = {"rows": [], "oldest": [], "proven_at": proven_at, "suspended": suspended}
    server.will_answer("policy.plan", answer)
    told = server.ok("policy", "plan", "-", stdin=HOSPITAL)
    assert said in told
    assert "Nothing would end now." in told
    assert server.asked[0].arguments == {"text": HOSPITAL}
