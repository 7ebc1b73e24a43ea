"""What operators and signing persons may ask of a running appliance over its local socket."""

from appliance.administration.administration import OPERATIONS, SIGNED, Administration
from appliance.administration.contract import Host

__all__ = ["OPERATIONS", "SIGNED", "Administration", "Host"]
