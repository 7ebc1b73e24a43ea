"""What a branch and headquarters say at enrolment: read as written, and nothing else believed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance.sites import enrolment, words
from appliance.sites.enrolment import Admission, Application, Invitation
from store import canonical
from store.skeleton import node_id
from store.tables import TENANT
from transports.wire.errors import Refusal
from transports.wire.links import Server

KEY = SigningKey(b"b" * 32)
PUBLIC = bytes(KEY.verify_key)
PIN, TOKEN = b"p" * 16, b"t" * 16
HEADQUARTERS = bytes(SigningKey(b"h" * 32).verify_key)
ADMISSION = Admission(
    node_id(TENANT, HEADQUARTERS),
    HEADQUARTERS,
    "Hospital",
    ("hq.example:443", "[fd00::1]:8443"),
    3,
    "north",
    b"certificate",
    b"sealed",
)


def code(function: object, *arguments: object) -> str:
    with pytest.raises(Refusal) as caught:
        function(*arguments)  # type: ignore[operator]
    return caught.value.code


# --- invitations --------------------------------------------------------------------------------


@given(
    st.sampled_from(("hq.example", "10.0.0.5", "fd00::1")),
    st.integers(1, 65_535),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
)
def test_an_invitation_is_read_from_its_link_and_from_its_words(
    host: str, port: int, pin: bytes, token: bytes
) -> None:
    invitation = Invitation(Server(host, port), pin, token)
    assert enrolment.read_invitation(invitation.link) == invitation
    assert enrolment.read_invitation(f" {invitation.words}\n") == invitation


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hq.example",
        "hq.example:443 one two three",
        "strongroom://hq.example/join#ABC",
        "strongroom://hq.example/site#ABC",
        "https://hq.example/site#" + "A" * 43,
    ],
)
def test_anything_else_is_no_invitation(text: str) -> None:
    assert code(enrolment.read_invitation, text) == "site.invitation"


def test_an_invitation_of_twelve_words_lacks_the_pin() -> None:
    text = f"hq.example {words.spell(TOKEN)}"
    assert code(enrolment.read_invitation, text) == "site.invitation"


def test_an_invitation_shows_its_secret_to_no_log() -> None:
    invitation = Invitation(Server("hq.example"), PIN, TOKEN)
    assert repr(invitation) == "<Invitation to hq.example:8443>"


# --- applications -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest", [(), (TOKEN,), (TOKEN, "north.example:8443"), (TOKEN, "[fd00::1]:443", b"c" * 32)]
)
def test_an_application_is_read_as_it_was_signed(rest: tuple[Any, ...]) -> None:
    application = Application(PIN, PUBLIC, *rest)
    assert enrolment.read_application(enrolment.write_application(application, KEY)) == application


def test_an_application_signed_with_another_key_is_refused() -> None:
    application = Application(PIN, PUBLIC, TOKEN)
    data = enrolment.write_application(application, SigningKey(b"x" * 32))
    assert code(enrolment.read_application, data) == "request.invalid"


@pytest.mark.parametrize("place", range(7))
def test_the_signature_covers_every_field(place: int) -> None:
    application = Application(PIN, PUBLIC, TOKEN, "north.example:443", b"c" * 32)
    fields = canonical.decode(enrolment.write_application(application, KEY))
    other = fields[place]
    assert isinstance(other, str | bytes)
    fields[place] = other[:-1] + (b"!" if isinstance(other, bytes) else "4")  # type: ignore[operator]
    assert code(enrolment.read_application, canonical.encode(fields)) == "request.invalid"


@pytest.mark.parametrize(
    "application",
    [
        Application(PIN[1:], PUBLIC, TOKEN),
        Application(PIN, PUBLIC, TOKEN[1:]),
        Application(PIN, PUBLIC, TOKEN + b"t"),
        Application(PIN, PUBLIC, TOKEN, "not an address", b"c" * 32),
        Application(PIN, PUBLIC, TOKEN, "north:443", b"c" * 31),
    ],
)
def test_lengths_are_checked_before_anything_is_believed(application: Application) -> None:
    data = enrolment.write_application(application, KEY)
    assert code(enrolment.read_application, data) == "request.invalid"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for read in (enrolment.read_application, enrolment.read_admission):
        with suppress(Refusal):
            read(data)


# --- admissions ---------------------------------------------------------------------------------


def test_an_admission_is_read_as_it_was_written() -> None:
    assert enrolment.read_admission(enrolment.write_admission(ADMISSION)) == ADMISSION


@pytest.mark.parametrize(
    "admission",
    [
        ADMISSION._replace(node=b"n" * 16),
        ADMISSION._replace(public_key=PUBLIC),
        ADMISSION._replace(site=0),
        ADMISSION._replace(addresses=("hq",) * 9),
        ADMISSION._replace(addresses=("h" * 262,)),
    ],
)
def test_an_admission_that_contradicts_itself_is_refused(admission: Admission) -> None:
    assert code(enrolment.read_admission, enrolment.write_admission(admission)) == "request.invalid"


def test_only_the_branch_opens_what_was_sealed_to_it() -> None:
    secret = bytes(range(32))
    sealed = enrolment.seal_for(PUBLIC, secret)
    assert enrolment.open_sealed(KEY, sealed) == secret
    assert code(enrolment.open_sealed, SigningKey(b"x" * 32), sealed) == "request.invalid"
    assert code(enrolment.open_sealed, KEY, sealed[:-1]) == "request.invalid"
    short = enrolment.seal_for(PUBLIC, secret[1:])
    assert code(enrolment.open_sealed, KEY, short) == "request.invalid"


def test_a_fingerprint_stands_for_both_sides() -> None:
    here = enrolment.fingerprint(PUBLIC, PIN)
    assert here != enrolment.fingerprint(HEADQUARTERS, PIN)
    assert here != enrolment.fingerprint(PUBLIC, b"q" * 16)
