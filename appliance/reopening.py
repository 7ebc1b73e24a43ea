"""Remember that a site's views have to be written anew, which is done when it is opened.

    META row "views.anew" -> empty

A view follows the log and never goes back. Where operations are given up that were followed, all
views are derived from the log again: O(log), 120 us for each operation.
"""

from __future__ import annotations

from typing import ClassVar, Final

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import StoreError
from store.tables import meta_key

_KEY: Final = meta_key("views.anew")


class ReopenError(StoreError):
    """The site has to be opened again: its views are then written anew."""

    code: ClassVar[str] = "store.reopen"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Nothing to do: the service manager starts the server again."


def ask(txn: Txn) -> None:
    """Have the views written anew at the next opening."""
    txn.put(_KEY, b"")


def is_asked(reader: Reader) -> bool:
    """Tell whether the views have to be written anew."""
    return reader.get(_KEY) is not None


def done(txn: Txn) -> None:
    """Note that the views are those of the log."""
    txn.delete(_KEY)
