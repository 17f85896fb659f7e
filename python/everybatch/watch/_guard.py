"""Who may ask: pages of this very server alone, from another machine with the token alone.

A page from elsewhere that is open in the same browser can send requests to 127.0.0.1, also under a name of its own that
it lets point there (DNS rebinding). Both are known by what the browser says of them: the name in Host, and Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from email.message import Message
from urllib.parse import parse_qs, urlsplit

__all__ = ["Guard", "is_loopback"]


class Guard:
    """Decides about requests to a server.

    Parameters
    ----------
    host
        The address that the server is bound to, as it was asked for.
    """

    def __init__(self, host: str) -> None:
        self._host = host.lower()
        self.token = None if is_loopback(host) else secrets.token_urlsafe(32)
        """What a request must bring; None where only this machine can ask."""

    def refusal(self, headers: Message, *, bare: bool = False) -> str | None:
        """Return why a request is refused by where it comes from, or None.

        Parameters
        ----------
        headers
            Of the request.
        bare
            It asks for the page without anything in it, to which a link elsewhere may lead.
        """
        host = headers.get("Host", "")
        if not self._is_own(host):
            return f"this server does not answer to the name {host[:100]!r}"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return "a page from elsewhere asks"
        is_followed = (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == ("navigate", "document")
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not (bare and is_followed):
            return "a page from elsewhere asks"
        return None

    def opens(self, query: str, cookies: str, port: int) -> bool:
        """Whether the token is there, in the address or as a cookie."""
        if self.token is None:
            return True
        # By hand: other servers of this machine have cookies here too, and one that is malformed must not hide ours.
        pairs = (part.strip().partition("=") for part in cookies.split(";"))
        kept = [value for name, _, value in pairs if name == self.cookie(port)]
        given = [*parse_qs(query).get("token", []), *kept]
        # Each takes as long, whatever is wrong with it.
        return any(hmac.compare_digest(one.encode("utf-8", "replace"), self.token.encode()) for one in given)

    def cookie(self, port: int) -> str:
        """Return the name of the cookie; browsers do not tell the ports of a machine apart."""
        return f"everybatch-watch-{port}"

    def _is_own(self, host: str) -> bool:
        """Whether it is this server that a request names; the port may be one that is forwarded."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or "@" in host:
            return False
        if is_loopback(name):
            return True
        # With a token, an address in numbers, or a name of this machine: a rebound name is neither.
        names = (self._host, socket.gethostname().lower())
        return self.token is not None and (name in names or _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
