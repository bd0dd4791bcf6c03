"""Serves the page of `try`: click on a picture, type a word, see every method's mask.

The server listens on this machine alone, unless it is told otherwise. What a browser sends is a name to be looked up,
a click, a few words, or the bytes of a picture: no path that comes from it is ever opened. The page's scripts are in
the folder page/, and those that it shares with the report page in harness/page/.
"""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.serving.api import Api
    from harness.serving.gallery import Gallery
    from harness.serving.server import serve

__all__ = ["Api", "Gallery", "serve"]
__getattr__ = imported_when_asked(__name__, {"Api": "api", "Gallery": "gallery", "serve": "server"})
