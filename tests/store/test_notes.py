"""Notes and checkpoints are what C2SP says they are, and nothing else is read as one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import closing
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from store import notes
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.ids import Origin
from store.limits import NOTE_BYTES, NOTE_SIGNATURES
from store.notes import Checkpoint, DayKey, Kept, Note, NoteSignature
from store.tables import CHECKPOINT
from tests.store.logbox import SITE_KEY, sign

# The example of the note package in which the format first appeared.
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
DAY = SigningKey(bytes(range(1, 33)))
DAY_KEY = bytes(DAY.verify_key)
LOG = notes.log_name(Origin(bytes(range(16)), 0xAB))
ROOT = bytes(range(32))

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="+"), min_size=1
)
TEXTS = st.text(st.characters(codec="utf-8", min_codepoint=32) | st.just("\n"), min_size=1).map(
    lambda text: text + "\n"
)
SIGNATURES = st.lists(
    st.builds(
        NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=70)
    ),
    min_size=1,
    max_size=4,
)


def day_sign(data: bytes) -> bytes:
    return bytes(DAY.sign(data).signature)


def checkpoint(size: int = 7, *extensions: str) -> bytes:
    return notes.sign_checkpoint(Checkpoint(LOG, size, ROOT, extensions), DAY_KEY, day_sign)


def test_the_published_example_is_read_and_verified() -> None:
    name, key = notes.read_verifier_key(PUBLISHED_KEY)
    note = notes.read(PUBLISHED_NOTE.encode())
    notes.verify(note, name, key)
    assert note.text == "This is an example message.\n"
    assert notes.verifier_key(name, key) == PUBLISHED_KEY
    assert notes.write(*note) == PUBLISHED_NOTE.encode()


def test_a_checkpoint_is_written_as_specified() -> None:
    signature = bytes(DAY.sign(f"{LOG}\n7\n{b64encode(ROOT).decode()}\n".encode()).signature)
    short = sha256(LOG.encode() + b"\n\x01" + DAY_KEY).digest()[:4]
    assert checkpoint().decode().split("\n") == [
        "strongroom/000102030405060708090a0b0c0d0e0f/00000000000000ab",
        "7",
        b64encode(ROOT).decode(),
        "",
        f"— {LOG} {b64encode(short + signature).decode()}",
        "",
    ]


@given(TEXTS, SIGNATURES)
def test_what_is_written_is_read_again(text: str, signatures: list[NoteSignature]) -> None:
    note = Note(text, tuple(signatures))
    assert notes.read(notes.write(*note)) == note


@given(st.binary(max_size=60) | TEXTS.map(str.encode))
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        notes.read(data)


@settings(max_examples=200)
@given(st.data())
def test_no_bit_of_a_signed_note_can_change(data: st.DataObject) -> None:
    note = bytearray(checkpoint(7, "extension", "another"))
    bit = data.draw(st.integers(0, len(note) * 8 - 1))
    note[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, IntegrityError)):
        notes.open_checkpoint(bytes(note), DAY_KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: text + "x",
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("— ", "- "),
        lambda text: text.replace("— ", "—  "),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("7\n", "7\t\n"),
        lambda text: text.replace("=\n", "\n"),
        lambda text: text.replace("\n\n— strong", "\n\n— strong+"),
        lambda text: text.replace("\n\n— strong", "\n\n— strong\u00a0"),
        lambda text: text[: text.index("—")] + "\n",
        lambda text: text[: text.index("—")] + "— name AAAAAA==\n",
        lambda text: "\n" + text[text.index("—") - 1 :],
        lambda text: "x" * NOTE_BYTES + text,
        lambda text: text + f"{text[text.index('—') :]}" * NOTE_SIGNATURES,
    ],
)
def test_the_format_is_strict(change: object) -> None:
    text = checkpoint().decode()
    assert notes.read(text.encode())
    with pytest.raises(FormatError):
        notes.read(change(text).encode())  # type: ignore[operator]


def test_base64_has_one_spelling() -> None:
    text = checkpoint().decode()
    digit = text[-3]
    other = text[:-3] + chr(ord(digit) + 1) + "=\n"
    assert b64decode(other.split(" ")[-1]) == b64decode(text.split(" ")[-1])
    with pytest.raises(FormatError):
        notes.read(other.encode())


def test_the_text_ends_at_the_last_empty_line() -> None:
    text = "one\n\n\ntwo\n\n"
    data = notes.write(text, [notes.sign(text, "me", DAY_KEY, day_sign)])
    note = notes.read(data)
    assert note.text == text
    notes.verify(note, "me", DAY_KEY)


def test_signatures_of_others_are_ignored_and_wrong_ones_are_not() -> None:
    text = Checkpoint(LOG, 7, ROOT).text
    own = notes.sign(text, LOG, DAY_KEY, day_sign)
    other = notes.sign(text, "other", bytes(SITE_KEY.verify_key), sign)
    namesake = own._replace(name="namesake", signature=bytes(64))
    same_name = own._replace(key_hash=bytes(4), signature=b"?")
    notes.open_checkpoint(notes.write(text, [other, namesake, same_name, own]), DAY_KEY)
    for wrong in (own._replace(signature=bytes(64)), own._replace(signature=b"short")):
        with pytest.raises(IntegrityError):
            notes.open_checkpoint(notes.write(text, [own, wrong]), DAY_KEY)
    with pytest.raises(IntegrityError):
        notes.open_checkpoint(notes.write(text, [other, namesake, same_name]), DAY_KEY)


@pytest.mark.parametrize(
    ("text", "name"), [("", "me"), ("x", "me"), ("\r\n", "me"), ("x\n", ""), ("x\n", "a b")]
)
def test_what_no_note_can_have_is_not_signed(text: str, name: str) -> None:
    with pytest.raises(ValueError, match="note"):
        notes.sign(text, name, DAY_KEY, day_sign)
    with pytest.raises(ValueError, match="note"):
        notes.write(text, [NoteSignature(name, bytes(4), b"x")])


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED_KEY[:-1],
        PUBLISHED_KEY.replace("530d903a", "530d903b"),
        PUBLISHED_KEY.replace("530d903a", "530D903A"),
        PUBLISHED_KEY.replace("+Ae", "+Be"),
        PUBLISHED_KEY + "\n",
        PUBLISHED_KEY.replace("example.com", "exam ple.com"),
        "example.com/foo+530d903a+AQ==",
        "",
    ],
)
def test_verifier_keys_are_read_strictly(text: str) -> None:
    with pytest.raises(FormatError):
        notes.read_verifier_key(text)


@given(
    st.integers(0, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(NAMES, max_size=2).map(tuple),
)
def test_checkpoints_come_back(size: int, root: bytes, extensions: tuple[str, ...]) -> None:
    made = Checkpoint(LOG, size, root, extensions)
    assert Checkpoint.read(made.text) == made


@pytest.mark.parametrize(
    "text",
    [
        "log\n7\n",
        "log\n7\nAAAA\n",
        "\n7\n{root}\n",
        "log\n07\n{root}\n",
        "log\n+7\n{root}\n",
        "log\n7 \n{root}\n",
        "log\n٧\n{root}\n",
        "log\n-1\n{root}\n",
        "log\n7\n{root}",
        "log\n7\n{root}\n\n",
        "log\n7\n{root}\n\nmore\n",
        "log\n7\n {root}\n",
    ],
)
def test_other_texts_are_no_checkpoints(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.read(text.format(root=b64encode(ROOT).decode()))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_logs_are_named_by_node_and_incarnation(node: bytes, incarnation: int) -> None:
    origin = Origin(node, incarnation)
    assert notes.read_log_name(notes.log_name(origin)) == origin


@pytest.mark.parametrize("text", ["", LOG + "0", LOG.upper(), LOG + "\n", LOG[:-1], "x" + LOG])
def test_other_names_are_no_logs(text: str) -> None:
    with pytest.raises(FormatError):
        notes.read_log_name(text)


def test_checkpoints_are_kept_by_size() -> None:
    day_key = notes.certify_day_key(bytes(16), 20_781, DAY_KEY, sign)
    with closing(MemoryEngine(Medium()).snapshot()) as snapshot:
        txn = Txn(snapshot)
        assert notes.newest_checkpoint(txn, 1) is None
        kept = [Kept(size, checkpoint(size), day_key) for size in (0, 2, 300, 70_000)]
        for at in (2, 1, 3, 0):
            notes.save_checkpoint(txn, 1, kept[at].note, day_key)
        notes.save_checkpoint(txn, 2, checkpoint(99_999), day_key)
        assert notes.newest_checkpoint(txn, 1) == kept[3]
        assert list(notes.checkpoints(txn, 1)) == kept
        assert list(notes.checkpoints(txn, 1, 2)) == kept[2:]
        other = day_key._replace(public_key=bytes(SITE_KEY.verify_key))
        with pytest.raises(IntegrityError):
            notes.save_checkpoint(txn, 1, checkpoint(), other)
        txn.put(CHECKPOINT.key(3, 1), bytes(100))
        with pytest.raises(FormatError):
            notes.newest_checkpoint(txn, 3)


def test_the_site_certifies_the_key_of_a_day() -> None:
    node, site_key = bytes(16), bytes(SITE_KEY.verify_key)
    made = notes.certify_day_key(node, 20_781, DAY_KEY, sign)
    assert notes.day_key_bytes(node, 1, DAY_KEY) == (
        b"strongroom/day-key/1" + node + bytes((0, 0, 0, 1)) + DAY_KEY
    )
    assert notes.is_certified(made, node, site_key)
    for wrong in (
        made._replace(day=20_782),
        made._replace(public_key=site_key),
        made._replace(signature=bytes(64)),
        made._replace(signature=made.signature[:-1]),
        made._replace(day=-1),
        DayKey(1 << 32, DAY_KEY, made.signature),
    ):
        assert not notes.is_certified(wrong, node, site_key)
    assert not notes.is_certified(made, bytes(15), site_key)
    assert not notes.is_certified(made, b"x" * 16, site_key)
    assert not notes.is_certified(made, node, DAY_KEY)
    assert not notes.is_certified(made, node, b"")
