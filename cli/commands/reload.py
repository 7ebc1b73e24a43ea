"""Have the running server take its configuration and certificate anew."""

from __future__ import annotations

from pathlib import Path

from cli.admin import AdminSocket
from cli.options import command
from cli.output import emit_json, say
from cli.places import data_directory


@command("reload", example="strongroom reload")
def reload(data: Path | None, as_json: bool) -> None:
    """Have the running server take its configuration and certificate anew.

    SIGHUP does the same, where the server was not started on a terminal.

    All or nothing: when the file or the certificate has a mistake, it is told (status 78), and
    the server goes on as it was. What only a restart can change is listed.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("reload")
    if as_json:
        emit_json("reload", answer)
        return
    say(f"Taken: {', '.join(answer['changed']) or 'nothing new'}.")
    if answer["certificate_until"]:
        say(f"The certificate ends at {answer['certificate_until']}.")
    if answer["waiting"]:
        say(f"Waiting for a restart: {', '.join(answer['waiting'])}.")
