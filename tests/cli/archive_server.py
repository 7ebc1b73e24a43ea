"""An archive behind a real administration socket, served by a thread; and officers' profiles."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from cli.places import admin_socket
from client.profile import Account, Profile
from tests.appliance.evidence.archive import Archive
from tests.appliance.evidence.desk import Desk
from transports import admin


class ArchiveServer:
    """Serves an archive; use it in a ``with``. The page numbered ``fail_at`` gets no answer."""

    def __init__(self, archive: Archive, data: Path) -> None:
        self.archive = archive
        self.data = data
        self.pages = 0
        self.fail_at = 0
        self._desk = Desk(archive)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))
        for login in ("dave", "olga"):
            self._write_profile(login)

    async def _serve(self) -> None:
        path = admin_socket(self.data)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._token = trio.lowlevel.current_trio_token()
        self._scope = trio.CancelScope()
        with self._scope:
            listener = admin.bind(path)
            self._ready.set()
            await admin.serve(listener, self._answer)

    async def _answer(self, uid: int, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "evidence.page":
            self.pages += 1
            if self.pages == self.fail_at:
                return {"error": {"code": "server.failed", "message": "cut", "retryable": True}}
        return await self._desk.administration.answer(uid, request)

    def _write_profile(self, login: str) -> None:
        seed = bytes(self.archive.keys[login])
        account = Account(
            server="strongroom://x",
            login=login,
            person=self.archive.people[login],
            device=b"d" * 16,
            token="",
            key=Profile.new_key(seed),
        )
        Profile(self.data / "profiles" / login).save(account)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()
