"""The offline verifier takes what a site has sworn to, and not one bit of anything else."""

from __future__ import annotations

import ast
import hashlib
import hmac
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nacl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.disposal.commands import REQUESTS
from appliance.operations import Approval, DestructionConfirmed, Kind, ReplicaState, Signed, encode
from store import canonical, merkle, notes, verifier
from store.errors import FormatError
from store.limits import CANONICAL_BYTES, CANONICAL_DEPTH
from store.oplog import OpClass
from store.verifier import Certificate, VerificationError
from tests.appliance.disposal.proofbox import (
    AGREED,
    ANNA,
    BO,
    LEAVES,
    OPS,
    SCOPE_KEY,
    SITE_PUBLIC,
    Officer,
    ProofBox,
    day_signer,
    scope_text,
)
from tests.store.logbox import message, privileged

SITE = ProofBox()
SITE.checkpoint()
CERTIFICATE = SITE.certified()
SITE.day += 1
SITE.box.append(privileged())
SITE.checkpoint()
LEDGER = SITE.export()
PROOF = verifier.read(CERTIFICATE)
OTHER_KEY = bytes(BO.key.verify_key)


class Desk:
    """An auditor's desk: files, and the verifier run on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("key", SITE_PUBLIC.hex() + "\n")
        self.write("certificate", CERTIFICATE)
        self.write("ledger", LEDGER)
        self.write("scope", scope_text())

    def write(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        (self.path / name).write_bytes(data)

    def run(self, *arguments: str) -> int:
        files = [str(self.path / name) for name in ("certificate", "ledger", "key")]
        return verifier.main([files[0], "--ledger", files[1], "--key", files[2], *arguments])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def refused(certificate: str, ledger: str = LEDGER, key: bytes = SITE_PUBLIC) -> str:
    """What the verifier has against these."""
    with pytest.raises(VerificationError) as caught:
        verifier.verify(certificate, ledger, key)
    return str(caught.value)


# --- what holds -------------------------------------------------------------------------------


def test_a_sites_certificate_and_ledger_hold() -> None:
    said = verifier.verify(CERTIFICATE, LEDGER, SITE_PUBLIC)
    assert len(said) == 11
    assert "leaf 8" in said[3]
    assert verifier.verify(CERTIFICATE, iter(LEDGER.splitlines(keepends=True)), SITE_PUBLIC) == said
    assert len(verifier.verify(None, LEDGER, SITE_PUBLIC)) == 3


def test_the_command_says_step_by_step_what_it_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    assert desk.run() == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"ok: {step}" for step in verifier.verify(CERTIFICATE, LEDGER, SITE_PUBLIC)]
    desk.write("ledger", LEDGER + "operation\n")
    assert desk.run() == 5
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 10
    assert said[-1] == "FAILED: the export goes on behind its leaves."


@pytest.mark.parametrize(
    ("cause", "approvals"),
    [
        ("expiry", ()),
        ("recall", ()),
        ("recall", SITE.approvals()[:1]),
        ("erasure", SITE.approvals()),
        ("decommission", SITE.approvals()),
    ],
)
def test_each_cause_takes_the_approvals_that_it_takes(
    cause: str, approvals: tuple[Approval, ...]
) -> None:
    site = ProofBox()
    certificate = site.certified(cause=cause, approvals=approvals)
    assert verifier.verify(certificate, site.export(), SITE_PUBLIC)


def test_a_certificate_of_an_earlier_incarnation_holds() -> None:
    site = ProofBox()
    certificate = site.certified()
    site.box.commit(site.box.log.renew)
    site.box.append(privileged())
    site.checkpoint()
    assert verifier.verify(certificate, site.export(1), SITE_PUBLIC)
    assert refused(certificate, site.export(2)) == "the export is of another ledger"


# --- tampering --------------------------------------------------------------------------------


def flipped(text: str, bit: int) -> bytes:
    data = bytearray(text.encode())
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@pytest.mark.parametrize("name", ["certificate", "ledger"])
def test_no_byte_can_be_different(name: str) -> None:
    texts = {"certificate": CERTIFICATE, "ledger": LEDGER}
    for at in range(len(texts[name].encode())):
        with suppress(UnicodeDecodeError):
            changed = texts | {name: flipped(texts[name], at * 8 + at % 8).decode()}
            assert refused(changed["certificate"], changed["ledger"]), at


@settings(max_examples=300)
@given(st.data())
def test_no_bit_can_be_different(desk: Desk, data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from((("certificate", CERTIFICATE), ("ledger", LEDGER))))
    desk.write(name, flipped(text, data.draw(st.integers(0, len(text.encode()) * 8 - 1))))
    try:
        assert desk.run() == 5
    finally:
        desk.write(name, text)


@settings(max_examples=100)
@given(st.data())
def test_no_line_can_be_missing_or_doubled(desk: Desk, data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from((("certificate", CERTIFICATE), ("ledger", LEDGER))))
    lines = text.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(("", lines[at] * 2, lines[at][:-1], "\n", " \n")))
    if lines == text.splitlines(keepends=True):
        return
    desk.write(name, "".join(lines))
    try:
        assert desk.run() == 5
    finally:
        desk.write(name, text)


@settings(max_examples=100)
@given(st.text(), st.binary(max_size=50))
def test_anything_else_is_refused(desk: Desk, text: str, data: bytes) -> None:
    assert refused(text)
    assert refused(CERTIFICATE, text)
    for name, whole in (("certificate", CERTIFICATE), ("ledger", LEDGER), ("key", None)):
        desk.write(name, data)
        assert desk.run() == 5
        desk.write(name, SITE_PUBLIC.hex() if whole is None else whole)


def forged(**changes: object) -> Certificate:
    """The certificate with other parts of its proof, its lines made to fit."""
    return PROOF._replace(**changes)  # type: ignore[arg-type]


def test_a_forged_count_is_found_in_either_place() -> None:
    assert "parts: 37\n" in CERTIFICATE
    said = refused(CERTIFICATE.replace("parts: 37\n", "parts: 36\n"))
    assert said == "the text of the certificate is not what its proof says"
    said = refused(CERTIFICATE.replace(", 33\n", ", 34\n"))
    assert said == "the text of the certificate is not what its proof says"
    body = encode(SITE.body(counts=()))
    said = refused(verifier.write(forged(body=body)))
    assert said == "the body is not what was committed to"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"site_key_hash": bytes(32)}, "the certificate is of another site's key"),
        ({"salt": bytes(16)}, "the envelope is not what was committed to"),
        ({"salt": bytes(15)}, "the salt does not have 16 bytes"),
        ({"envelope": PROOF.envelope + b"\0"}, "the envelope is not what was committed to"),
        ({"leaf": 7}, "a path does not fit its ledger"),
        ({"leaf": 9}, "a path does not fit its ledger"),
        ({"path": ()}, "a path does not fit its ledger"),
        ({"path": (*PROOF.path, bytes(32))}, "a path does not fit its ledger"),
        ({"path": (bytes(32),)}, "the operation is not in the ledger at that leaf"),
        ({"day_key": "1 AA== AA=="}, "a key of the day is none"),
        ({"day_key": PROOF.day_key + " more"}, "a key of the day is not complete"),
        ({"day_key": PROOF.day_key.replace("20781", "20780")}, "the site's key did not certify"),
        ({"checkpoint": PROOF.checkpoint.replace("\n9\n", "\n8\n")}, "no certified key of the day"),
        ({"checkpoint": PROOF.checkpoint + "x\n"}, "the proof of the certificate is not complete"),
        ({"checkpoint": PROOF.checkpoint.replace("—", "-")}, "a checkpoint is not written as one"),
    ],
)
def test_a_proof_that_does_not_hold_is_refused(changes: dict[str, object], said: str) -> None:
    assert said in refused(verifier.write(forged(**changes)))


def test_another_sites_key_is_refused() -> None:
    said = refused(CERTIFICATE, key=OTHER_KEY)
    assert said == "the certificate is of another site's key"
    with pytest.raises(VerificationError, match="another site's key"):
        verifier.verify(None, LEDGER, OTHER_KEY)
    assert refused(CERTIFICATE, key=b"short") == "the site's key does not have 32 bytes"


def test_a_key_of_the_day_that_the_site_did_not_certify_signs_nothing() -> None:
    public = bytes(ANNA.key.verify_key)
    own = notes.certify_day_key(
        SITE.node, 20_781, public, lambda data: bytes(ANNA.key.sign(data).signature)
    )
    said = refused(verifier.write(forged(day_key=own.text)))
    assert said == "the site's key did not certify a day's key"


def test_a_checkpoint_of_another_ledger_proves_nothing() -> None:
    other = ProofBox()
    op = other.confirm()
    log = f"strongroom/{other.node.hex()}/{1:016x}"
    note = other.checkpoint(log)
    certificate = other.certificate(op)
    assert note.decode() in certificate
    assert refused(certificate) == "a checkpoint is of another ledger"


@pytest.mark.parametrize("op_class", [OpClass.MESSAGE, OpClass.CONTROL])
def test_only_privileged_operations_confirm(op_class: OpClass) -> None:
    skeleton = bytes((1, op_class)) + PROOF.skeleton[2:]
    with pytest.raises(VerificationError, match="privileged"):
        verifier.write(forged(skeleton=skeleton))
    with pytest.raises(VerificationError, match="98 bytes"):
        verifier.write(forged(skeleton=skeleton[1:]))


def test_another_kind_of_operation_confirms_nothing() -> None:
    site = ProofBox()
    site.confirm()
    (other,) = site.box.append(privileged(encode(site.body())))
    site.checkpoint()
    said = refused(site.certificate(other), site.export())
    assert said == "the operation confirms no destruction"


STRANGER = Officer(3)


def approvals(
    first: Approval | None = None, second: Approval | None = None
) -> tuple[Approval, ...]:
    own = SITE.approvals()
    return (first or own[0], second or own[1])


def with_signed(approval: Approval, signed: Signed) -> Approval:
    return Approval(approval.person, approval.public_key, signed)


FIRST, SECOND = SITE.approvals()
SAME_KEY = Officer(4)
SAME_KEY.key = ANNA.key
NO_REQUEST = canonical.encode(("strongroom/request/2", b"", b"", b"", "", ""))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"approvals": ()}, "this cause takes two people"),
        ({"approvals": (FIRST,)}, "this cause takes two people"),
        ({"approvals": (FIRST, FIRST)}, "the two people or their keys are the same"),
        (
            {"approvals": approvals(second=ANNA.approval(SITE.node, "request.approve", AGREED))},
            "the two people or their keys are the same",
        ),
        (
            {"approvals": approvals(second=SAME_KEY.approval(SITE.node, "x", AGREED))},
            "the two people or their keys are the same",
        ),
        (
            {"approvals": approvals(second=BO.approval(bytes(16), "request.approve", AGREED))},
            "an approval was given to another site",
        ),
        (
            {"approvals": approvals(second=Approval(b"x" * 16, SECOND.public_key, SECOND.signed))},
            "an approval is signed as another person",
        ),
        (
            {"approvals": approvals(second=Approval(SECOND.person, OTHER_KEY[::-1], FIRST.signed))},
            "an approval's signature is not its key's",
        ),
        (
            {
                "approvals": approvals(
                    first=with_signed(FIRST, Signed(FIRST.signed.request, bytes(64)))
                )
            },
            "an approval's signature is not its key's",
        ),
        (
            {
                "approvals": approvals(
                    second=BO.approval(SITE.node, "request.approve", AGREED | {"request": 4})
                )
            },
            "an approval is of another request",
        ),
        (
            {
                "approvals": approvals(
                    second=BO.approval(SITE.node, "request.approve", AGREED | {"digest": "00"})
                )
            },
            "an approval is of another request",
        ),
        (
            {"approvals": approvals(second=BO.approval(SITE.node, "request.approve", ["digest"]))},
            "an approval is of another request",
        ),
        (
            {"approvals": (FIRST, SECOND, STRANGER.approval(SITE.node, "hold.list", {}))},
            "an approval is of another act",
        ),
        ({"digest": bytes(32)}, "an approval is of another request"),
        ({"digest": b""}, "the certificate does not name the request's digest"),
        (
            {"approvals": approvals(first=ANNA.approval(SITE.node, "hold.place", AGREED))},
            "an approval is of another act",
        ),
        (
            {"approvals": approvals(first=ANNA.approval(SITE.node, "request.approve", AGREED))},
            "an approval is of another act",
        ),
        (
            {"approvals": approvals(second=BO.approval(SITE.node, "request.sign", AGREED))},
            "an approval is of another act",
        ),
    ],
)
def test_two_people_must_have_agreed_to_just_this(changes: dict[str, object], said: str) -> None:
    site = ProofBox()
    assert refused(site.certified(**changes), site.export()) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cause": "mood"}, "the cause is not a known one"),
        ({"state": "DESTROYED"}, "the state is not a known one"),
        ({"generations": (41, 44)}, "called complete early"),
        ({"parts": 36}, "the number of parts is not the size of the scope"),
        ({"scope_size": 36}, "the number of parts is not the size of the scope"),
        ({"confirmed_ms": 1 << 50}, "a time is beyond the year 9999"),
        ({"run": -1}, "a"),
        ({"approvals": (Approval(b"", b"", Signed(b"\x90", b"")),)}, "a record does not have"),
        (
            {"approvals": (Approval(b"", b"", Signed(NO_REQUEST, b"")),)},
            "what was signed is not a request",
        ),
    ],
)
def test_what_contradicts_itself_gets_no_certificate(changes: dict[str, object], said: str) -> None:
    with pytest.raises(VerificationError) as caught:
        ProofBox().certified(**changes)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("state", "replicas", "line"),
    [
        ("LOCAL", (("hq", 43), ("cellar", 0)), "state: LOCAL\n"),
        ("REPLICAS", (("hq", 44), ("cellar", 43)), "state: REPLICAS 1/2\n"),
        ("COMPLETE", (("hq", 44), ("cellar", 44)), "state: COMPLETE\n"),
        ("COMPLETE", (), "state: COMPLETE\n"),
    ],
)
def test_only_a_complete_certificate_says_destroyed(
    state: str, replicas: tuple[tuple[str, int], ...], line: str
) -> None:
    certificate = ProofBox().certified(
        state=state, replicas=tuple(ReplicaState(*each) for each in replicas)
    )
    assert line in certificate
    assert ("destroyed" in certificate) is (state == "COMPLETE")


def test_what_would_not_show_is_escaped() -> None:
    certificate = ProofBox().certified(
        clock="a\nstate: b\u202e\x7f\u2028\x9b", program="病历 é\\u000a"
    )
    assert "\nclock: a\\u000astate: b\\u202e\\u007f\\u2028\\u009b\n" in certificate
    assert "\nprogram: 病历 é\\u000a\n" in certificate
    assert verifier.read(certificate)


# --- the ledger -------------------------------------------------------------------------------


def edited(change: Callable[[list[str]], None], text: str = LEDGER) -> str:
    lines = text.splitlines(keepends=True)
    change(lines)
    return "".join(lines)


def where(prefix: str) -> int:
    return next(n for n, line in enumerate(LEDGER.splitlines()) if line.startswith(prefix))


def test_a_leaf_cannot_be_taken_out_even_with_its_count() -> None:
    def take_out(lines: list[str]) -> None:
        del lines[-1]
        lines[where("leaves: ")] = "leaves: 9\n"

    assert "do not lead up to" in refused(CERTIFICATE, edited(take_out))


def test_leaves_cannot_change_places() -> None:
    def swap(lines: list[str]) -> None:
        at = where("leaves: ") + 1
        lines[at], lines[at + 1] = lines[at + 1], lines[at]

    assert refused(CERTIFICATE, edited(swap)) == "a checkpoint is not of these leaves"


def test_an_export_without_a_checkpoint_proves_nothing() -> None:
    def take_out(lines: list[str]) -> None:
        at = where("checkpoints: ")
        lines[at : where("leaves: ")] = ["checkpoints: 0\n"]

    assert "do not lead up to" in refused(CERTIFICATE, edited(take_out))


def test_checkpoints_must_be_in_order() -> None:
    def swap(lines: list[str]) -> None:
        at = where("checkpoints: ") + 1
        lines[at : at + 10] = lines[at + 5 : at + 10] + lines[at : at + 5]

    assert "do not lead up to" in refused(CERTIFICATE, edited(swap))


def test_an_export_older_than_the_certificate_does_not_do() -> None:
    site = ProofBox()
    site.checkpoint()
    before = site.export()
    certificate = site.certified()
    assert refused(certificate, before) == "the export is older than the certificate"
    assert verifier.verify(certificate, site.export(), SITE_PUBLIC)


@pytest.mark.parametrize(
    ("leaves", "said"),
    [
        (1, "certificate and export are of two ledgers that call themselves the same"),
        (3, "the certificate's leaf is not in the export"),
    ],
)
def test_a_site_that_shows_two_ledgers_is_found(leaves: int, said: str) -> None:
    """The site, with all its keys, tells the auditor another story than the certificate's."""
    site, other = ProofBox(), ProofBox()
    certificate = site.certified()
    other.confirm(run=13)
    other.box.append(*[privileged()] * (leaves - 1))
    other.checkpoint()
    assert refused(certificate, other.export()) == said


def test_segments_must_continue_one_another() -> None:
    lines = [line for line in LEDGER.splitlines() if line.startswith("segment ")]
    statements = [bytes.fromhex(line.partition(" ")[2]) for line in lines]
    origin = statements[0][1:25]
    spoken = [f"segment {statement.hex()}" for statement in statements]
    assert list(verifier._leaves(iter(spoken), 2, origin)) == [b"\x01" + s for s in statements[:2]]
    for wrong, said in (
        (spoken[1:], "does not follow"),
        ([spoken[0], spoken[0]], "does not follow"),
        ([spoken[0].replace("segment 01", "segment 02", 1)], "another log"),
        ([spoken[0].replace("segment ", "piece ")], "neither"),
        ([spoken[0] + "00"], "length"),
        ([spoken[0].upper()], "neither"),
    ):
        with pytest.raises(VerificationError, match=said):
            list(verifier._leaves(iter(wrong), len(wrong), origin))
    with pytest.raises(VerificationError, match="another log"):
        list(verifier._leaves(iter(spoken), 1, bytes(24)))


def test_a_checkpoint_of_the_empty_ledger_has_its_root() -> None:
    site = ProofBox()
    site.box.commit(site.box.log.renew)
    note = site.checkpoint()
    key = day_signer(site.day)
    empty = notes.open_checkpoint(note, bytes(key.verify_key))
    forged_note = notes.sign_checkpoint(
        empty._replace(root=bytes(32)),
        bytes(key.verify_key),
        lambda data: bytes(key.sign(data).signature),
    )
    site.box.append(privileged())
    site.checkpoint()
    export = site.export()
    assert verifier.verify(None, export, SITE_PUBLIC)
    with pytest.raises(VerificationError, match="not of these leaves"):
        verifier.verify(None, export.replace(note.decode(), forged_note.decode()), SITE_PUBLIC)


def test_an_empty_ledger_can_be_checked() -> None:
    site = ProofBox()
    site.box.commit(site.box.log.renew)
    site.checkpoint()
    export = site.export()
    assert export.endswith("leaves: 0\n")
    assert verifier.verify(None, export, SITE_PUBLIC)


@settings(max_examples=100)
@given(st.integers(1, 40), st.data())
def test_paths_lead_to_the_root_from_their_leaf_alone(size: int, data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(bytes((n,))) for n in range(size)]
    root = merkle.root(bytes((n,)) for n in range(size))
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    path = merkle.inclusion_proof(index, hashes)
    assert verifier._climb(index, size, hashes[index], path) == root
    if other != index:
        with suppress(VerificationError):
            assert verifier._climb(other, size, hashes[index], path) != root


# --- scope ------------------------------------------------------------------------------------


def test_who_has_the_scope_key_can_ask_for_a_message() -> None:
    assert verifier.covers(CERTIFICATE, SCOPE_KEY, OPS[11], LEAVES)
    assert not verifier.covers(CERTIFICATE, SCOPE_KEY, bytes(32), LEAVES)
    assert not verifier.covers(CERTIFICATE, bytes(32), OPS[11], LEAVES)


@pytest.mark.parametrize("leaves", [[], LEAVES[:-1], LEAVES[::-1], [*LEAVES, bytes(32)]])
def test_leaves_of_another_scope_are_refused(leaves: list[bytes]) -> None:
    with pytest.raises(VerificationError, match="not the leaves"):
        verifier.covers(CERTIFICATE, SCOPE_KEY, OPS[11], leaves)


def test_what_is_no_operations_id_is_refused() -> None:
    with pytest.raises(VerificationError, match="32 bytes"):
        verifier.covers(CERTIFICATE, SCOPE_KEY, b"short", LEAVES)


def test_the_command_answers_for_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    scope = ("--scope", str(desk.path / "scope"), "--message")
    assert desk.run(*scope, OPS[0].hex()) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("ok: The message is among")
    assert desk.run(*scope, "00" * 32) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("no: The message is not among")
    assert desk.run(*scope, "00") == 5
    desk.write("scope", scope_text(13))
    assert desk.run(*scope, OPS[0].hex()) == 5
    desk.write("scope", scope_text()[:-1])
    assert desk.run(*scope, OPS[0].hex()) == 5


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        SITE_PUBLIC.hex(),
        SITE_PUBLIC.hex().upper() + "\n",
        b64encode(SITE_PUBLIC).decode() + "\r\n",
        notes.verifier_key("site.example", SITE_PUBLIC) + "\n",
    ],
)
def test_the_key_may_be_written_in_three_ways(text: str) -> None:
    assert verifier.read_key(text) == SITE_PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "",
        SITE_PUBLIC.hex()[:-1],
        SITE_PUBLIC.hex() + "00",
        b64encode(SITE_PUBLIC[:-1]).decode(),
        notes.verifier_key("site.example", SITE_PUBLIC).replace("site", "side"),
        "a+0badc0de+" + b64encode(b"\x01" + SITE_PUBLIC).decode(),
        "a+0badc0de+?",
        "a+" + hashlib.sha256(b"a\n\x02x").hexdigest()[:8] + "+" + b64encode(b"\x02x").decode(),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        verifier.read_key(text)


def test_files_that_are_not_there_are_the_callers_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "ledger").unlink()
    assert desk.run() == 2
    assert "ledger: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    ["", "c", "c --ledger l", "c --ledger l --key k --scope s", "c --ledger l --key k --message 0"],
)
def test_wrong_usage_is_told_apart(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        verifier.main(arguments.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_scope_needs_its_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        verifier.main(["--ledger", "l", "--key", "k", "--scope", "s", "--message", "00"])
    assert caught.value.code == 2
    assert "go together" in capsys.readouterr().err


# --- alone ------------------------------------------------------------------------------------

ALLOWED = {"nacl", "cffi", "_cffi_backend", "pycparser"}
RUN = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
del sys.argv[:2]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write(" ".join({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_verifier_names_nothing_of_ours() -> None:
    tree = ast.parse(Path(verifier.__file__).read_text("utf-8"))
    named = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert named - {"nacl"} <= sys.stdlib_module_names | {"__future__"}


def test_one_copied_file_and_pynacl_are_enough(tmp_path: Path) -> None:
    """An interpreter that finds the standard library, PyNaCl, and nothing else."""
    desk = Desk(tmp_path)
    packages = Path(nacl.__file__).parents[1]
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ALLOWED:
        for found in packages.glob(f"{name}*"):
            if not found.name.endswith(".dist-info"):
                (alone / found.name).symlink_to(found)
    shutil.copy(verifier.__file__, tmp_path / "verifier.py")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "-c", RUN, str(alone), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )

    files = ("certificate", "--ledger", "ledger", "--key", "key")
    question = ("--scope", "scope", "--message", OPS[5].hex())
    done = run("verifier.py", *files, *question)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok: ") == 12
    loaded = set(done.stderr.split())
    assert loaded - ALLOWED - {"_sodium"} <= sys.stdlib_module_names | {"__main__"}
    desk.write("certificate", CERTIFICATE.replace("parts: 37", "parts: 38"))
    assert run("verifier.py", *files).returncode == 5


# --- agreement with the product ----------------------------------------------------------------


def test_the_body_is_the_products() -> None:
    assert verifier.Body._fields == DestructionConfirmed.__struct_fields__
    assert verifier.CONFIRMED == Kind.DESTRUCTION_CONFIRMED
    assert verifier.PRIVILEGED == OpClass.PRIVILEGED
    assert {verifier.SIGNS, verifier.APPROVES} <= set(REQUESTS)
    assert (verifier.MOST_BYTES, verifier.DEEPEST) == (CANONICAL_BYTES, CANONICAL_DEPTH)


def test_fields_that_a_later_build_appends_are_ignored() -> None:
    body = canonical.encode((*canonical.decode(PROOF.body), "more", True))
    assert verifier.read_body(body) == verifier.read_body(PROOF.body)


@pytest.mark.parametrize("at", range(len(DestructionConfirmed.__struct_fields__)))
def test_each_field_of_the_body_has_its_type(at: int) -> None:
    fields = canonical.decode(PROOF.body)
    others: list[canonical.Value] = [True, [True], "x" if isinstance(fields[at], bytes) else b"x"]
    for wrong in others:
        changed = [*fields[:at], wrong, *fields[at + 1 :]]
        with pytest.raises(VerificationError):
            verifier.read_body(canonical.encode(changed))
    if verifier.Body._fields[at] not in verifier.Body._field_defaults:
        with pytest.raises(VerificationError):
            verifier.read_body(canonical.encode(fields[:at]))


def test_a_body_from_before_there_were_branches_names_none() -> None:
    fields = canonical.decode(PROOF.body)
    at = verifier.Body._fields.index("sites")
    assert verifier.read_body(canonical.encode(fields[:at])).sites == []


@pytest.mark.parametrize("state", ["missing", "held"])
def test_nothing_is_complete_that_a_site_has_not_answered(state: str) -> None:
    fields = canonical.decode(PROOF.body)
    fields[verifier.Body._fields.index("sites")] = [[1, "north", state, 3, 1, 0]]
    with pytest.raises(VerificationError, match="every site"):
        verifier.read_body(canonical.encode(fields))
    fields[verifier.Body._fields.index("sites")] = [[1, "north", "done", 4, 0, 0]]
    assert verifier.read_body(canonical.encode(fields)).sites == [(1, "north", "done", 4, 0, 0)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generations", [41]),
        ("counts", [["standard", 1]]),
        ("replicas", [["hq"]]),
        ("approvals", [[b"", b""]]),
        ("approvals", [[b"", b"", [b""]]]),
    ],
)
def test_arrays_in_the_body_are_complete(name: str, value: canonical.Value) -> None:
    fields = canonical.decode(PROOF.body)
    fields[verifier.Body._fields.index(name)] = value
    with pytest.raises(VerificationError):
        verifier.read_body(canonical.encode(fields))


VALUES = st.recursive(
    st.integers(0, 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=40) | st.booleans(),
    lambda inner: st.lists(inner, max_size=18),
    max_leaves=30,
)


@given(st.lists(VALUES, max_size=20))
def test_canonical_arrays_are_read_as_the_product_reads_them(fields: list[canonical.Value]) -> None:
    assert verifier.decode(canonical.encode(fields)) == fields


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_000])
@pytest.mark.parametrize("of", ["a", b"a", (1,)])
def test_long_values_are_read(of: str | bytes | tuple[int], size: int) -> None:
    data = canonical.encode((of * size,))
    assert verifier.decode(data) == canonical.decode(data)


@settings(max_examples=300)
@given(st.binary(max_size=12))
def test_nothing_is_read_that_the_product_would_not_read(data: bytes) -> None:
    try:
        fields = verifier.decode(b"\x92" + data)
    except VerificationError:
        return
    assert canonical.decode(b"\x92" + data) == fields


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x90\x90",
        b"\x91",
        b"\x91\xcc\x7f",
        b"\x91\xcd\x00\xff",
        b"\x91\xce\x00\x00\xff\xff",
        b"\x91\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
        b"\x91\xd9\x01a",
        b"\x91\xda\x00\x01a",
        b"\x91\xc5\x00\x01a",
        b"\xdc\x00\x01\x01",
        b"\x91\xc0",
        b"\x91\xff",
        b"\x91\x80",
        b"\x91\xca\x00\x00\x00\x00",
        b"\x91\xa1\xff",
        b"\x91\xa2a",
        b"\x91\xc4\x02a",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 17 + b"\x90",
        b"\x91\xc6" + (70_000).to_bytes(4, "big") + bytes(70_000),
    ],
)
def test_arrays_are_read_strictly(data: bytes) -> None:
    with pytest.raises(VerificationError):
        verifier.decode(data)
    if data not in (b"\x91\xc0", b"\x91\xff"):
        with pytest.raises(FormatError):
            canonical.decode(data)


def test_a_scope_leaf_is_what_the_product_makes() -> None:
    assert LEAVES[3] == hmac.new(SCOPE_KEY, OPS[3], "sha256").digest()
    assert message().op_class is OpClass.MESSAGE
