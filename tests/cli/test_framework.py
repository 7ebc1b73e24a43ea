"""The command line as a whole: every command, its help, its errors and its exit statuses."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli import errors, exits, reference
from cli.errors import CliError
from cli.exits import Exit
from cli.main import COMMANDS, root
from cli.options import Command
from client import Closed
from transports.wire.errors import CATALOGUE, Refusal
from transports.wire.links import LinkError

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(root, list(arguments), input=stdin)


LEAVES = [(path, found) for path, found in reference.walk() if not isinstance(found, click.Group)]


@pytest.mark.parametrize(("path", "found"), LEAVES, ids=[path for path, _ in LEAVES])
def test_every_command_has_json_an_example_and_a_summary(path: str, found: click.Command) -> None:
    assert isinstance(found, Command)
    assert path.removeprefix("strongroom ").split()[0] in found.example
    assert (found.help or "").splitlines()[0].endswith((".", ";"))
    assert {"as_json", "data"} <= {each.name for each in found.params}
    help_text = run(*path.split()[1:], "--help").output
    assert found.example.splitlines()[0] in help_text


@pytest.mark.parametrize(("path", "found"), LEAVES, ids=[path for path, _ in LEAVES])
def test_no_option_takes_a_secret(path: str, found: click.Command) -> None:
    named = [each for each in found.params if not isinstance(each.type, click.Path)]
    names = {option for each in named for option in each.opts}
    assert not names & {"--password", "--passphrase", "--token", "--code", "--key"}


def test_the_list_of_commands_imports_none_of_them() -> None:
    script = (
        "import sys; from cli.main import root; root.main(['--help'], standalone_mode=False);"
        "print([m for m in sys.modules if m.startswith(('cli.commands', 'appliance', 'trio'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_a_wrong_command_line_ends_with_2_and_a_hint() -> None:
    result = run("stats")
    assert result.exit_code == 2
    assert "(cli.usage)" in result.stderr
    assert "hint: `strongroom --help`" in result.stderr
    assert result.stdout == ""


def test_with_json_the_error_is_one_document_on_stderr() -> None:
    result = run("status", "--data", "/nonexistent", "--json")
    assert result.exit_code == 3
    assert result.stdout == ""
    told = json.loads(result.stderr)
    assert told["schema"] == "strongroom.error/1"
    assert told["code"] == "server.unreachable"
    assert told["retryable"] is True


@pytest.mark.parametrize("command", ["status", "metrics", "doctor", "drain"])
def test_a_server_that_is_down_is_told_with_the_next_step(command: str, tmp_path: Path) -> None:
    result = run(command, "--data", str(tmp_path))
    assert result.exit_code == 3
    assert f"strongroom serve --data {tmp_path}" in result.stderr


def test_waiting_ends_with_7() -> None:
    result = run("wait", "ready", "--data", "/nonexistent", "--timeout", "0")
    assert result.exit_code == 7


def test_version_is_a_document() -> None:
    told = json.loads(run("version", "--json").stdout)
    assert told["schema"] == "strongroom.version/1"
    assert told["version"]


def test_the_alarms_are_printed_without_a_server() -> None:
    rules = (ROOT / "docs" / "strongroom.rules.yml").read_text("utf-8")
    assert run("metrics", "--rules", "--data", "/nonexistent").output == rules


def test_completion_is_a_script_for_the_shell() -> None:
    assert "_STRONGROOM_COMPLETE=bash_complete" in run("completion", "bash").stdout


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("person.exists", Exit.REFUSED),
        ("person.unknown", Exit.FAILED),
        ("permission.denied", Exit.DENIED),
        ("request.signature", Exit.DENIED),
        ("request.invalid", Exit.USAGE),
        ("auth.failed", Exit.DENIED),
        ("send.conflict", Exit.REFUSED),
        ("server.failed", Exit.FAILED),
        ("server.draining", Exit.UNREACHABLE),
        ("client.unreachable", Exit.UNREACHABLE),
        ("client.timeout", Exit.TIMEOUT),
        ("client.untrusted", Exit.DENIED),
        ("store.integrity", Exit.INTEGRITY),
        ("store.not_empty", Exit.FAILED),
        ("vault.locked", Exit.DENIED),
        ("config.invalid", Exit.CONFIG),
    ],
)
def test_an_errors_code_decides_the_status(code: str, status: Exit) -> None:
    assert exits.for_code(code) is status


def test_every_code_of_the_catalogue_leads_to_a_failure() -> None:
    assert all(exits.for_code(code) is not Exit.OK for code in CATALOGUE)


def test_every_status_has_a_meaning() -> None:
    assert set(exits.MEANINGS) == set(Exit)


def test_an_unexpected_error_is_told_without_its_text() -> None:
    told = errors.report(RuntimeError("CANARY"))
    assert told.status == Exit.FAILED
    assert "CANARY" not in told.as_json() + told.as_text()


def test_a_refusal_is_told_in_the_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert errors.report(Refusal("person.exists")).message == CATALOGUE["person.exists"].zh
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    assert errors.report(Refusal("person.exists")).message == CATALOGUE["person.exists"].en


def test_a_refusal_for_now_says_when_to_come_back() -> None:
    told = errors.report(Refusal("auth.locked", after=900))
    assert told.hint == "Try again in 900 s."
    assert told.retryable


def test_operating_system_errors_keep_their_reason() -> None:
    denied = errors.report(PermissionError(13, "Permission denied", "/x"))
    assert (denied.code, denied.status) == ("cli.denied", Exit.DENIED)
    assert denied.message == "/x: Permission denied"
    assert errors.report(OSError(98, "in use")).code == "cli.port_taken"


def test_a_link_typed_wrong_is_wrong_usage() -> None:
    assert errors.report(LinkError("a link begins with strongroom://")).status == Exit.USAGE


def test_a_group_of_one_error_is_that_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("fail")
    def fail() -> None:
        inner = CliError("client.timeout", "slow")
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [inner])])

    monkeypatch.setattr(root, "get_command", lambda _context, _name: fail)
    assert run("fail").exit_code == 7


@pytest.mark.parametrize(
    ("cause", "status"),
    [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1), (CliError("client.timeout", "slow"), 7)],
)
def test_an_interruption_inside_a_nursery_is_that_interruption(
    monkeypatch: pytest.MonkeyPatch, cause: BaseException, status: int
) -> None:
    @click.command("fail")
    def fail() -> None:
        raise BaseExceptionGroup("nursery", [Closed(), ExceptionGroup("inner", [Closed()]), cause])

    monkeypatch.setattr(root, "get_command", lambda _context, _name: fail)
    monkeypatch.setattr("cli.main._quiet_stdout", lambda: None)
    assert run("fail").exit_code == status


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    script = "from cli.main import main; import sys; sys.argv[1:] = ['config', 'schema']; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode != 0


def test_nothing_here_configures_logging_on_import() -> None:
    assert not logging.getLogger("strongroom").handlers
