"""Find the command that was typed, run it, and turn whatever goes wrong into an exit status.

Commands are named here with their one-line help, so that ``strongroom --help`` and the shell's
completion import none of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from cli.errors import tell
from cli.exits import Exit

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("cli.commands.init:init", "Make a new organisation in an empty data directory."),
    "serve": ("cli.commands.serve:serve", "Run the appliance in the foreground."),
    "demo": ("cli.commands.demo:demo", "Run a demo organisation, made if there is none."),
    "demo-sites": ("cli.commands.demo_sites:demo_sites", "Show headquarters and two branches."),
    "status": ("cli.commands.status:status", "Show how the running server is."),
    "wait": ("cli.commands.status:wait", "Wait until the server is ready."),
    "reload": ("cli.commands.reload:reload", "Take configuration and certificate anew."),
    "drain": ("cli.commands.status:drain", "Stop the running server in good order."),
    "doctor": ("cli.commands.status:doctor", "Look for problems of the running server."),
    "check": ("cli.commands.check:check", "Verify the log and every view, server down."),
    "metrics": ("cli.commands.status:metrics", "Print the server's figures for Prometheus."),
    "version": ("cli.commands.status:version", "Print the version."),
    "config": ("cli.commands.config:config", "Check, show and explain the configuration."),
    "user": ("cli.commands.user:user", "Manage people."),
    "device": ("cli.commands.device:device", "List and revoke devices."),
    "session": ("cli.commands.session:session", "List and end live sessions."),
    "invite": ("cli.commands.invite:invite", "Create, list and revoke invitations."),
    "conversation": ("cli.commands.conversation:conversation", "List conversations, not content."),
    "site": ("cli.commands.site:site", "Open branches, see to them, or join headquarters."),
    "export": ("cli.commands.export:export", "Export records as evidence; decrypt, verify."),
    "policy": ("cli.commands.policy:policy", "Show, plan and set how long records are kept."),
    "hold": ("cli.commands.hold:hold", "Place, list and release legal holds."),
    "destroy": ("cli.commands.destroy:destroy", "Destroy records; fetch certificates."),
    "review": ("cli.commands.review:review", "Read other people's messages, as two allow it."),
    "request": ("cli.commands.request:request", "See and approve what takes two officers."),
    "audit": ("cli.commands.audit:audit", "Read the trail; export it; verify certificates."),
    "clock": ("cli.commands.clock:clock", "Show and confirm the time destruction goes by."),
    "decommission": ("cli.commands.decommission:decommission", "End this site, for ever."),
    "backup": ("cli.commands.backup:group", "Back the site up; verify a backup."),
    "restore": ("cli.commands.restore:restore", "Bring a site back from backup and key replica."),
    "drill": ("cli.commands.drill:group", "Rehearse a disaster; nothing is changed."),
    "key-replica": ("cli.commands.replica:group", "Keep copies of the keys on other devices."),
    "upgrade": ("cli.commands.upgrade:group", "Upgrade from a signed bundle; roll back."),
    "duty": ("cli.commands.duty:duty", "Manage duties and who holds them."),
    "chat": ("cli.commands.chat:chat", "Chat in the terminal or in a pipe."),
    "login": ("cli.commands.login:login", "Sign in on this machine."),
    "logout": ("cli.commands.login:logout", "Sign out and revoke this device."),
    "completion": ("cli.commands.completion:completion", "Print a shell's completion script."),
}
"""Every command: where it is, and its line in the list of commands."""

_CONSEQUENCE: Final = "client.closed"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is no such name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and leave with its status."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 (the last place where an error can be told)
            status = _failed(_root_cause(error), as_json="--json" in words)
        if not standalone_mode:
            return status
        sys.exit(status if isinstance(status, int) else 0)


def _failed(cause: BaseException, *, as_json: bool) -> int:
    """Tell what went wrong, unless nobody reads any more; return the status."""
    if isinstance(cause, BrokenPipeError):
        _quiet_stdout()
        return Exit.FAILED
    return tell(cause, as_json=as_json)


def _root_cause(error: BaseException) -> BaseException:
    """Return what a group of errors, as nurseries raise them, comes down to.

    An interruption explains all the rest; a session that was closed is never why, but what its
    tasks meet when something else has ended it. Several other errors stay a group.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = list(_leaves(error))
    for kind in (KeyboardInterrupt, BrokenPipeError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    causes = [leaf for leaf in leaves if getattr(leaf, "code", "") != _CONSEQUENCE] or leaves
    return causes[0] if len(causes) == 1 else error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _quiet_stdout() -> None:
    """Send what is still buffered nowhere: who read our output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    "strongroom",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Documentation: docs/cli.md. Every command takes --json and --help.",
)
def root() -> None:
    """Instant messaging for hospitals and banks: records that are kept, then provably gone."""


def main() -> None:
    """Start; the entry point of the installed and of the built program."""
    root(prog_name="strongroom")


if __name__ == "__main__":
    main()
