"""Answer applications of branches, at headquarters: who is let in, and with which certificate."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from appliance import certificates
from appliance.operations import SecretSlot
from appliance.sites import enrolment
from appliance.sites.commands import JoinSite
from appliance.sites.registry import Branch, State
from store.errors import StoreError
from store.ports import Clock, Entropy
from transports.http.message import Request, Response
from transports.wire.errors import Refusal, text

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.sites")

PATH: Final = "/v1/site"
"""Where branches apply."""

CA_PATH: Final = "/v1/site/ca.pem"
"""Where the CA's certificate is fetched, whatever certificate the port shows to clients."""

MEDIA_TYPE: Final = "application/msgpack"

_STATUS: Final = {"request.invalid": 400, "site.waiting": 202, "server.overloaded": 503}


class Desk:
    """Answers applications.

    Args:
        core: the site.
        clock: for expiry and certificates.
        entropy: for serial numbers.
        addresses: where this headquarters is reached, as HOST:PORT.
        submit: has a command of the site's own decided; does not wait for it.
    """

    def __init__(
        self,
        core: Core,
        clock: Clock,
        entropy: Entropy,
        addresses: Callable[[], tuple[str, ...]],
        submit: Callable[[Any], None],
    ) -> None:
        self._core = core
        self._clock = clock
        self._entropy = entropy
        self._addresses = addresses
        self._submit = submit

    def respond(self, request: Request) -> Response:
        """Answer one application: an admission, or why there is none (yet)."""
        try:
            return Response(200, self.answer(request.body), MEDIA_TYPE)
        except (Refusal, StoreError) as error:
            code = error.code if isinstance(error, Refusal) else "server.overloaded"
            if code not in _STATUS:
                logger.warning("site.refused", extra={"error": code})
            document = {"error": {"code": code, "message": text(code)}}
            body = json.dumps(document).encode() + b"\n"
            return Response(_STATUS.get(code, 403), body, "application/json")

    def answer(self, body: bytes) -> bytes:
        """Return the admission of an approved branch.

        Raises ``Refusal``: "request.invalid" for what no branch sends, "site.untrusted" when it
        means another headquarters, "site.token", "site.revoked", and "site.waiting" until an
        administrator has approved it.
        """
        application = enrolment.read_application(body)
        core = self._core
        ca = core.secrets[SecretSlot.CA_CERTIFICATE]
        if application.pin != enrolment.pin_of(ca) or core.sites.is_branch:
            raise Refusal("site.untrusted")
        if application.node == core.log.node:
            raise Refusal("site.state")
        branch = core.sites.branch_of(application.node)
        if branch is None or branch.state is State.JOINED:
            self._note(application, branch)
            raise Refusal("site.waiting")
        if not branch.is_approved:
            raise Refusal("site.revoked")
        return enrolment.write_admission(self._admission(branch))

    def _note(self, application: enrolment.Application, branch: Branch | None) -> None:
        """Have it decided that a machine has joined, unless that is known already."""
        if branch is not None:
            return
        hashed = enrolment.token_hash(application.token)
        invited = self._core.sites.invited(hashed) if application.token else None
        if invited is None or invited.state is not State.INVITED:
            raise Refusal("site.token")
        if self._clock.wall_ms() >= invited.expires_ms:
            raise Refusal("site.token")
        command = JoinSite(hashed, application.public_key, application.address, application.ca)
        self._submit(command)

    def _admission(self, branch: Branch) -> enrolment.Admission:
        core, now_ms = self._core, self._clock.wall_ms()
        own = core.log.origins[core.log.head.origin]
        return enrolment.Admission(
            core.log.node,
            own.verify_key,
            core.site_name,
            self._addresses(),
            branch.site,
            branch.name,
            certificates.site_certificate(core, branch.public_key, now_ms, self._entropy),
            enrolment.seal_for(branch.public_key, core.secrets[SecretSlot.TENANT]),
        )
