"""Conversations are filed into classes; a site's end is only asked for."""

from __future__ import annotations

import pytest

from appliance.disposal.replies import Approved, Filed, Requested, Requests
from tests.cli.recorded import Recorded
from tests.cli.test_requests import KEY, item

CONVERSATION = "5f0c6d1e9ab34c77815d2f60b7a3e914"
FILE = ("conversation", "file", CONVERSATION, "--class", "record", "--as", "dave")


@pytest.mark.parametrize(
    ("options", "labels", "closed"),
    [((), [], False), (("--label", "b", "--label", "a", "--case-closed"), ["b", "a"], True)],
)
def test_a_conversation_is_filed_as_it_is_said(
    server: Recorded, options: tuple[str, ...], labels: list[str], closed: bool
) -> None:
    server.will_answer("conversation.file", Filed("record", tuple(sorted(labels))))
    told = server.ok(*FILE, *options)
    named = ", ".join(sorted(labels)) or "none"
    assert f"Filed as class record; labels: {named}." in told
    assert f"Its case is {'closed' if closed else 'open'}." in told
    assert server.signed()[0].arguments == {
        "conversation": CONVERSATION,
        "retention_class": "record",
        "labels": labels,
        "case_closed": closed,
    }


def test_a_class_that_there_is_not_is_told(server: Recorded) -> None:
    server.will_refuse("conversation.file", "policy.class_unknown")
    assert server.run(*FILE).exit_code == 1


def test_the_end_of_a_site_is_asked_for(server: Recorded) -> None:
    made = item(9, "decommission", arguments="{}")
    server.will_answer("decommission.request", Requested(9, made.digest, 40, 0, 0, 86_400, 1))
    server.will_answer("request.list", Requests((made,)))
    server.will_answer("audit.key", KEY)
    server.will_answer("request.sign", Approved(9, done=False, ready_ms=0))
    told = server.ok("decommission", "request", "--reason", "the branch closes", "--as", "dave")
    assert "next: strongroom decommission approve 9 --as SECOND_OFFICER" in told
    assert server.signed()[0].arguments == {"reason": "the branch closes", "transferred": False}
