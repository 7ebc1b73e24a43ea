"""List, show, approve and reject every request that takes two officers."""

from __future__ import annotations

import click

from cli.options import Group
from cli.requests import add_request_commands


@click.group(cls=Group)
def request() -> None:
    """Look at what takes two officers, and agree to it or not.

    Whatever one officer may not do alone becomes a request: a policy that keeps less, the
    release of a hold, an order to destroy, reading other people's messages, a clock that is
    right again. Another officer approves it here, or by running the same command.
    """


add_request_commands(request, (), 7)
