"""Decides which requests a server answers: those of this machine's own browser, and those that carry the token.

Any web page can make its visitor's browser send requests to 127.0.0.1. These checks keep such a page out:

    the attack                                                is noticed by
    it sends to http://127.0.0.1:8007 from its own pages      Origin, or Sec-Fetch-Site, is not this server's
    it lets its own name stand for 127.0.0.1 (DNS rebinding)  Host is the page's name, and not localhost

A server that others reach may have any name, so Host cannot be checked there. Instead a browser must know the token. It
comes once in the printed link, and then in a cookie that the browser sends from this server's own pages only.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from aiohttp import web


@dataclass(frozen=True)
class Guard:
    """The rules for one server.

    Attributes:
        token: The secret that a browser must send; "" on a loopback address, where none is needed.
    """

    token: str = ""

    @classmethod
    def of(cls, host: str) -> Guard:
        """The rules for a server that listens at a host, with a new token unless only this machine can reach it."""
        return cls("" if is_loopback(host) else secrets.token_urlsafe(24))

    def refusal(self, request: web.Request) -> str:
        """The reason why a request is not answered; "" if it is."""
        if not self.token and not is_loopback(_name(request.host)):
            return (
                f"found the host '{request.host[:200]}'; wanted 127.0.0.1 or localhost. For others to reach this page, "
                "start it with --host, which prints a link with a token."
            )
        if not _from_own_page(request):
            return "this request comes from another site's page; wanted one of this server's own."
        return ""

    def knows_token(self, request: web.Request) -> bool:
        """Whether a request brings the token, if one is needed: in its link or in the cookie."""
        # `compare_digest` takes equally long for any wrong token. `==` stops at the first wrong character, so from its
        # time a token could be found character by character.
        brought = request.query.get("token") or request.cookies.get(self.cookie(request), "")
        return not self.token or hmac.compare_digest(brought.encode(errors="replace"), self.token.encode())

    def cookie(self, request: web.Request) -> str:
        """The cookie's name. It holds the port, since a browser sends a cookie to every port of a host."""
        return f"harness_try_{_parts(f'//{request.host}').port or 80}"


def is_loopback(host: str) -> bool:
    """Whether a host can be reached by this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    return _parts(f"//{host}").hostname or ""


def _parts(address: str) -> SplitResult:
    """The parts of an address; all are empty if it is none, such as one with letters for a port."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - read, since only this raises for a port that is no number
    except ValueError:
        return urlsplit("")
    return parts


def _from_own_page(request: web.Request) -> bool:
    """Whether a request comes from a page of this server, or from no page, as when its link is opened."""
    # The page itself may be opened by a link on another site, such as a mail in a browser: it changes nothing and holds
    # no data. Older browsers send no Sec-Fetch-Site, but all send Origin with what they post to another site.
    site = request.headers.get("Sec-Fetch-Site")
    if request.path != "/" and site not in (None, "same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or _parts(origin).netloc == request.host != ""
