"""Duties on the command line: whoever is named is signed for by id."""

from __future__ import annotations

import pytest

from tests.cli.recorded import BOB, Recorded

BY_ID = "id:" + BOB["person"]
OTHER = "id:" + "0c" * 16


@pytest.mark.parametrize(
    ("words", "command", "arguments"),
    [
        (("assign", "on-call", "bob"), "duty.assign", {"duty": "on-call", "who": BY_ID}),
        (("assign", "on-call", "--nobody"), "duty.assign", {"duty": "on-call", "who": ""}),
        (
            ("chain", "on-call", "bob", OTHER, "--step-seconds", "60"),
            "duty.chain",
            {"duty": "on-call", "chain": [BY_ID, OTHER], "step_seconds": 60},
        ),
        (("handover", "on-call", "bob"), "duty.handover", {"duty": "on-call", "who": BY_ID}),
    ],
)
def test_what_is_signed_about_a_duty_names_nobody_by_login(
    server: Recorded, words: tuple[str, ...], command: str, arguments: dict[str, object]
) -> None:
    server.will_answer("user.show", BOB)
    server.will_answer(command, {})
    server.ok("duty", *words, "--as", "dave")
    (asked,) = server.signed()
    assert (asked.command, asked.by) == (command, "dave")
    assert asked.arguments == arguments
