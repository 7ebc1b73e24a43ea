"""The profile on disk: private, whole, numbered without repetition, sealed; and who may enter."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

import client
from client import Profile, ProfileError, Refused, Unsent, files, sealing
from client.outbox import Entry
from client.profile import NUMBERS_PER_RESERVATION, Account, StoredKey
from tests.client.memory_line import MemoryDialer, alice, run
from tests.client.model_server import ModelServer, person
from transports.wire.links import Invitation, Server
from transports.wire.schema import Body, Id, Send

ACCOUNT = Account(
    server="strongroom://alice@server",
    login="alice",
    person=bytes(person("alice")),
    device=b"alice".ljust(16, b"#"),
    token="token-of-alice",
)
CANARY = "canary-7f3a"
ROOM = Id(b"C" * 16)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    made = Profile(tmp_path / "profile")
    made.save(ACCOUNT)
    return made


def entry(n: int, text: str = "x") -> Entry:
    frame = Send(id=1, n=n, conv=ROOM, body=Body(kind="text", text=text))
    return Entry(frame, bytes(ROOM), is_durable=True)


def test_only_the_owner_can_read_it(profile: Profile) -> None:
    profile.next(0)
    profile.save_position("1", "i")
    profile.owe(1)
    profile.keep(entry(1))
    for path in [profile.path, *profile.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir(mode=0o755)
    assert stat.S_IMODE(Profile(tmp_path / "p").path.stat().st_mode) == 0o700


def test_what_is_saved_is_read_again(profile: Profile) -> None:
    profile.save_position("pos", "incarnation")
    again = Profile(profile.path)
    assert again.account == ACCOUNT
    assert again.position() == ("pos", "incarnation")
    assert Profile(profile.path.with_name("other")).position() == ("", "")


def test_what_is_owed_is_kept_until_it_is_forgotten(profile: Profile) -> None:
    assert profile.owed() == 0
    profile.owe(7)
    profile.owe(8)
    assert Profile(profile.path).owed() == 8
    profile.owe(0)
    profile.owe(0)
    assert Profile(profile.path).owed() == 0
    profile.owe(9)
    profile.wipe()
    assert [path for path in profile.path.rglob("*") if path.is_file()] == []


def test_numbers_are_never_given_twice_whoever_asks(profile: Profile) -> None:
    others = [profile, Profile(profile.path), Profile(profile.path)]
    numbers = [each.next(0) for _ in range(NUMBERS_PER_RESERVATION + 5) for each in others]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 1
    assert Profile(profile.path).next(0) > max(numbers)


def test_numbers_stay_above_what_the_server_has_seen(profile: Profile) -> None:
    assert profile.next(0) == 1
    assert profile.next(1_000) == 1_001
    assert profile.next(0) == 1_002


def test_waiting_messages_are_sealed_and_come_back_in_order(profile: Profile) -> None:
    for number in (10, 9, 100):
        profile.keep(entry(number, CANARY))
    assert not any(
        CANARY.encode() in path.read_bytes() for path in profile.path.rglob("*") if path.is_file()
    )
    found = Profile(profile.path).waiting()
    assert [(frame.n, lane) for frame, lane in found] == [
        (9, bytes(ROOM)),
        (10, bytes(ROOM)),
        (100, bytes(ROOM)),
    ]
    profile.drop(10)
    profile.drop(10)
    assert [frame.n for frame, _ in profile.waiting()] == [9, 100]


def test_another_token_does_not_open_the_outbox(profile: Profile) -> None:
    profile.keep(entry(1))
    with pytest.raises(ProfileError):
        sealing.unseal(sealing.outbox_key("another"), (profile.path / "outbox/1").read_bytes())


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens_and_what_is_changed_does_not(text: bytes, key: bytes) -> None:
    sealed = sealing.seal(key, text)
    assert sealing.unseal(key, sealed) == text
    for broken in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b""):
        with pytest.raises(ProfileError):
            sealing.unseal(key, broken)


def test_a_signing_key_signs_and_a_passphrase_guards_it(profile: Profile) -> None:
    for passphrase in ("", "correct horse"):
        key = Profile.new_key(b"s" * 32, passphrase)
        profile.save(msgspec.structs.replace(ACCOUNT, key=key))
        assert profile.needs_passphrase == bool(passphrase)
        signature = profile.sign(b"order", passphrase)
        assert VerifyKey(profile.public_key(passphrase)).verify(b"order", signature)
    assert b"s" * 32 not in (profile.path / "profile.json").read_bytes()
    with pytest.raises(ProfileError):
        profile.sign(b"order", "wrong")
    profile.save(ACCOUNT)
    with pytest.raises(ProfileError, match="no signing key"):
        profile.sign(b"order")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"server": 1}', b"\xff"])
def test_a_damaged_profile_says_so(profile: Profile, content: bytes) -> None:
    for name in ("profile.json", "numbers.json", "position.json", "wiped.json"):
        files.replace(profile.path / name, content)
    damaged = Profile(profile.path)
    for use in (lambda: damaged.account, lambda: damaged.next(0), damaged.position, damaged.owed):
        with pytest.raises(ProfileError):
            use()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a"
    files.replace(target, b"one")
    files.replace(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ProfileError):
        files.replace(tmp_path / "missing" / "a", b"x")
    with pytest.raises(ProfileError):
        files.read(tmp_path)


def test_secrets_are_in_no_repr(profile: Profile) -> None:
    shown = repr([profile, ACCOUNT, StoredKey(b"seed")])
    assert "token" not in shown
    assert "seed" not in shown


def test_an_invitation_makes_a_profile_with_a_key_the_server_knows(tmp_path: Path) -> None:
    async def main() -> None:
        server = ModelServer()
        server.invites["CODE"] = "carol"
        link = str(Invitation(Server("10.0.0.5"), "CODE"))
        made = await client.accept_invite(
            link, profile=tmp_path / "p", device_name="phone", dialer=MemoryDialer(server)
        )
        assert made.account.login == "carol"
        assert made.account.server == "strongroom://carol@10.0.0.5:8443"
        assert server.keys["carol"] == made.public_key()
        async with client.connect(profile=tmp_path / "p", dialer=MemoryDialer(server)) as me:
            assert me.person == person("carol")
        with pytest.raises(ProfileError, match="already"):
            await client.accept_invite(link, profile=tmp_path / "p", dialer=MemoryDialer(server))
        with pytest.raises(Refused):
            await client.accept_invite(
                "10.0.0.5", "CODE", profile=tmp_path / "q", dialer=MemoryDialer(server)
            )

    run(main)


def test_a_password_makes_a_profile_and_logging_out_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        server = ModelServer()
        server.passwords["bob"] = "a very long password"
        dialer = MemoryDialer(server)
        made = await client.login(
            "strongroom://bob@server", "a very long password", profile=tmp_path / "p", dialer=dialer
        )
        token = made.account.token
        assert token in server.tokens
        made.keep(entry(1))
        await client.logout(made, dialer=dialer)
        assert token not in server.tokens
        assert [path for path in made.path.rglob("*") if path.is_file()] == []
        with pytest.raises(ProfileError):
            await client.logout(made, dialer=dialer)

    run(main)


def test_a_device_that_is_revoked_already_can_be_logged_out(tmp_path: Path) -> None:
    async def main() -> None:
        made = Profile(tmp_path)
        made.save(ACCOUNT)
        server = ModelServer()
        server.tokens.clear()
        await client.logout(made, dialer=MemoryDialer(server))
        assert not made.exists

    run(main)


def test_queued_messages_survive_the_program(profile: Profile) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile) as (me, dialer):
            dialer.vanish()
            room = me.conversation(ROOM)
            numbers = [await room.queue(text) for text in ("one", "two", "three")]
            assert numbers == sorted(numbers)
            assert me.waiting == 3
        assert server.texts() == []
        async with alice(server, profile=Profile(profile.path)) as (me, _):
            await me.conversation(ROOM).send("four")
            assert server.texts() == ["one", "two", "three", "four"]
        assert Profile(profile.path).waiting() == []

    run(main)


def test_a_queued_message_that_is_refused_is_told_and_forgotten(profile: Profile) -> None:
    async def main() -> None:
        from transports.wire.schema import Err

        server = ModelServer()
        server.refusals.append(Err(code="send.too_large", message=""))
        async with alice(server, profile=profile) as (me, _):
            number = await me.conversation(ROOM).queue("x")
            with trio.fail_after(60):
                async for event in me.events():
                    if isinstance(event, Unsent):
                        assert (event.n, event.error.code) == (number, "send.too_large")
                        break
        assert profile.waiting() == []

    run(main)


def test_a_session_goes_on_where_the_first_one_began_if_that_took_nothing(
    profile: Profile,
) -> None:
    async def main() -> None:
        server = ModelServer()
        server.say("bob", "before anybody was here")
        async with alice(server, profile=profile):
            pass
        server.say("bob", "meanwhile")
        async with alice(server, profile=Profile(profile.path)) as (me, _):
            async for event in me.events():
                op = getattr(event, "op", None)
                if op is not None:
                    assert op.body.text == "meanwhile"
                    return

    run(main)


def test_a_session_goes_on_with_what_the_last_one_did_not_take(profile: Profile) -> None:
    async def main() -> None:
        server = ModelServer()
        texts: list[str] = []

        async def take(count: int) -> None:
            async with alice(server, profile=Profile(profile.path)) as (me, _):
                if not texts:
                    server.say("bob", "one")
                async for event in me.events():
                    op = getattr(event, "op", None)
                    if op is not None:
                        texts.append(op.body.text)
                    if len(texts) == count:
                        break

        await take(1)
        for text in ("two", "three"):
            server.say("bob", text)
        await take(3)
        assert texts == ["one", "two", "three"]

    run(main)


def test_without_a_profile_a_session_cannot_begin_offline() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="profile"):
            async with client.connect("server", token="x", wait=False):
                pytest.fail("connected")
        with pytest.raises(ValueError, match="token"):
            async with client.connect("server"):
                pytest.fail("connected")

    run(main)


def test_with_a_profile_a_session_can_begin_offline(profile: Profile) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile, wait=False) as (me, _):
            await me.conversation(ROOM).send("in the end")
            assert server.texts() == ["in the end"]

    run(main)
