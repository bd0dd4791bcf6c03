"""Which requests a server answers: those of this machine's own browser, and those that carry the token.

Any web page may make its visitor's browser send requests to 127.0.0.1. What keeps such a page out:

    it writes to http://127.0.0.1:8007 from its own pages     its Origin, or Sec-Fetch-Site, is not this server's
    it names its own address 127.0.0.1 ("DNS rebinding")      the Host is then its name, and not localhost

A server that others reach has names that nobody can list here, so there the token keeps such pages out: it comes once
in the link that is printed, and then in a cookie that the browser sends from this server's own pages only.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web


@dataclass(frozen=True)
class Guard:
    """The rules for one server.

    Attributes:
        token: What a browser must know; "" on a loopback address, where none is wanted.
    """

    token: str = ""

    @classmethod
    def of(cls, host: str) -> Guard:
        """For a server that listens at a host; with a new token unless only this machine reaches it."""
        return cls("" if is_loopback(host) else secrets.token_urlsafe(24))

    def refusal(self, request: web.Request) -> str:
        """Why a request is not answered; "" where it is."""
        if not self.token and not is_loopback(_name(request.host)):
            return (
                f"found the host '{request.host[:200]}'; wanted 127.0.0.1 or localhost. For others to reach this page, "
                "start it with --host, which prints a link with a token."
            )
        if not _from_own_page(request):
            return "this request comes from another site's page; wanted one of this server's own."
        return ""

    def knows_token(self, request: web.Request) -> bool:
        """Whether a request brings the token, if one is wanted: in its link or in the cookie."""
        brought = request.query.get("token") or request.cookies.get(self.cookie(request), "")
        return not self.token or hmac.compare_digest(brought.encode(), self.token.encode())

    def cookie(self, request: web.Request) -> str:
        """The cookie's name. A browser sends one to every port of a host, so that the port stands in it."""
        return f"harness_try_{urlsplit(f'//{request.host}').port or 80}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _from_own_page(request: web.Request) -> bool:
    """Whether a request comes from a page of this server, or from no page, as when its link is opened."""
    site = request.headers.get("Sec-Fetch-Site")
    if request.path != "/" and site not in (None, "same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host
