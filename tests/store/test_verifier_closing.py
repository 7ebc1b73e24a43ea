"""A closing note ends just the site that it is of, and nothing of it can be different."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from appliance.operations import ReplicaState
from store import notes, verifier
from store.verifier import VerificationError
from tests.appliance.disposal.proofbox import BO, SITE_PUBLIC, ProofBox
from tests.store.logbox import SITE_KEY
from tests.store.test_verifier import Desk, flipped, refused

REPLICAS = (ReplicaState("hq", 43), ReplicaState("cel\nlar", 43))


def ended(name: str = "end", **changes: object) -> tuple[ProofBox, str]:
    site = ProofBox(name)
    fields = {"cause": "decommission", "state": "CLOSING", "replicas": REPLICAS, **changes}
    return site, site.certified(**fields)


END, ENDED = ended()
END_LEDGER = END.export()
SAID = (
    "decommissioned",
    "time: 2026-11-24T10:00:00.000+00:00",
    "replica: hq: effaced",
    "replica: cel\\u000alar: retired",
)


def closing(said: tuple[str, ...] = SAID, key: SigningKey = SITE_KEY, **changes: Any) -> str:
    checkpoint = notes.Checkpoint.read(notes.read(verifier.read(ENDED).checkpoint.encode()).text)
    closed = checkpoint._replace(extensions=said, **changes)
    public = bytes(key.verify_key)
    note = notes.sign_checkpoint(closed, public, lambda data: bytes(key.sign(data).signature))
    return note.decode()


def end_refused(note: str, certificate: str = ENDED, ledger: str = END_LEDGER) -> str:
    with pytest.raises(VerificationError) as caught:
        list(verifier.steps(certificate, ledger, SITE_PUBLIC, note))
    return str(caught.value)


def test_a_closing_note_goes_with_the_certificate_of_the_end(tmp_path: Path) -> None:
    said = list(verifier.steps(ENDED, END_LEDGER, SITE_PUBLIC, closing()))
    assert sum("closed it there" in step for step in said) == 1
    assert len(said) == 1 + len(list(verifier.steps(ENDED, END_LEDGER, SITE_PUBLIC)))
    desk = Desk(tmp_path)
    desk.write("certificate", ENDED)
    desk.write("ledger", END_LEDGER)
    desk.write("closing", closing())
    assert desk.run("--closing", str(tmp_path / "closing")) == 0
    desk.write("closing", closing().replace("effaced", "retired"))
    assert desk.run("--closing", str(tmp_path / "closing")) == 5
    with pytest.raises(SystemExit):
        verifier.main(["--ledger", "x", "--key", "x", "--closing", "x"])


def test_no_byte_of_a_closing_note_can_be_different() -> None:
    note = closing()
    for at in range(len(note.encode())):
        with suppress(UnicodeDecodeError):
            assert end_refused(flipped(note, 8 * at).decode())


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (closing(key=BO.key), "not the site's own key signed a checkpoint"),
        (closing(size=1), "the closing note is of another end"),
        (closing(root=bytes(32)), "the closing note is of another end"),
        (closing(()), "a checkpoint says something else"),
        (closing(SAID[1:]), "a checkpoint says something else"),
        (closing(SAID[:3]), "a key replica is not accounted for"),
        (verifier.read(ENDED).checkpoint, "a checkpoint says something else"),
        ("", "a checkpoint is not written as one"),
    ],
)
def test_another_note_closes_nothing(note: str, reason: str) -> None:
    assert end_refused(note) == reason


def test_only_the_end_of_a_site_is_closing_and_has_a_closing_note() -> None:
    site, order = ended("order", cause="order", state="COMPLETE", replicas=())
    assert end_refused(closing(), order, site.export()) == (
        "a closing note goes with the end of a site"
    )
    with pytest.raises(VerificationError, match="called closing without an end"):
        ended("other", cause="order")
    checkpoint = verifier.read(ENDED).checkpoint
    assert refused(ENDED.replace(checkpoint, closing()), END_LEDGER)
