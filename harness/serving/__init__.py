"""Serves the page of `try`: click on a picture, type a word, see every method's mask.

The server listens on this machine only, unless `--host` names another address. A browser sends a name to be looked up,
a click, a few words, or the bytes of a picture; the server never opens a path that a browser sent. The page's scripts
are in the folder page/, and those that it shares with the report page in harness/page/.

The threads and their work:

    event loop      HTTP, checks of requests; nothing that takes long
    "pictures"      one thread that reads data sets, folders and uploads, one picture after the other
    "methods"       one thread that encodes and segments, or one process of a cluster for each method
    asyncio's pool  work that shares no data: scaling pictures, run lengths of masks, writing recordings
"""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.serving.api import Api
    from harness.serving.gallery import Gallery
    from harness.serving.server import serve

__all__ = ["Api", "Gallery", "serve"]
__getattr__ = imported_when_asked(__name__, {"Api": "api", "Gallery": "gallery", "serve": "server"})
