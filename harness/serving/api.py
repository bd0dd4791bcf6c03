"""The requests that the page can make, with JSON in and JSON out. Nothing here depends on HTTP or a browser.

The server keeps nothing about a browser: every request names its picture and brings all its clicks and words. So a link
holds the whole state, two windows do not disturb each other, and a restarted server answers as the one before.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from harness.config.parts import Model
from harness.config.run_config import RunConfig
from harness.config.yaml_file import validated
from harness.messages import without_folders
from harness.serving.asking import Answering
from harness.serving.gallery import UPLOAD_MEGAPIXELS, UPLOAD_MIB, Gallery, Shown
from harness.serving.truth import against, truth, under
from harness.serving.views import map_file, mask_counts, picture_file, view_size
from harness.storage.recordings import ID, count, record
from harness.structures import Click, UserError
from harness.trying.desk import Question, Seen
from harness.trying.session import Answer, clicks_on

T = TypeVar("T")

PAGE = 48
"""The number of pictures of a list that are sent together."""


class Named(Model):
    """A picture by its source and its name there."""

    source: Annotated[str, Field(max_length=1000)]
    name: Annotated[str, Field(max_length=1000)]


class Clicked(Named):
    """A picture with clicks: x, y and whether it is positive, in pixels of the full picture."""

    clicks: Annotated[tuple[tuple[int, int, bool], ...], Field(max_length=100)] = ()


class Asked(Clicked):
    """A question to one method."""

    method: str
    text: Annotated[str, Field(max_length=1000)] = ""


class Recorded(Clicked):
    """A prompt to be kept: its random id, the instance that was meant, words, and how many seconds it took."""

    # The browser draws the id, so that a request that it repeats after a lost reply does not record the prompt twice.
    id: Annotated[str, Field(pattern=f"^{ID.pattern}$")]
    clicks: Annotated[tuple[tuple[int, int, bool], ...], Field(min_length=1, max_length=100)]
    text: Annotated[str, Field(max_length=1000)] = ""
    instance: Annotated[str, Field(max_length=1000)]
    seconds: Annotated[float, Field(ge=0, le=86_400)]


class Api:
    """Answers the page.

    Args:
        config: The run's config.
        gallery: The pictures.
        answering: The methods.
        for_others: Whether the page is open to people besides this machine's user. Messages then name no folder.
        recordings: The folder for prompts whose authors agree; None if none are kept.
    """

    def __init__(
        self,
        config: RunConfig,
        gallery: Gallery,
        answering: Answering,
        for_others: bool = False,
        recordings: Path | None = None,
    ) -> None:
        self.recordings = recordings
        self.config, self.gallery, self.answering, self.for_others = config, gallery, answering, for_others
        self.labels = {facts.label for facts in answering.facts}
        # One thread, since data sets are not safe in several threads: their open files have one position. It is not the
        # methods' thread, so the list can be scrolled while a method computes.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def close(self) -> None:
        """Drop the requests that wait for the reader, and wait for the one in work: an upload is a file meanwhile."""
        self._reader.shutdown(cancel_futures=True)

    def said(self, text: str) -> str:
        """A message without this machine's folders, if it is for others."""
        return without_folders(text) if self.for_others else text

    async def about(self) -> dict[str, Any]:
        """The facts from which the page is built: methods, sources, limits."""
        return {
            "run": self.config.run,
            "methods": [vars(facts) for facts in self.answering.facts],
            "sources": [{"label": one.label, "kind": one.kind} for one in self.gallery.sources.values()],
            "records": self.recordings is not None,
            "uploads": self.gallery.uploads.label,
            "most": {"mib": UPLOAD_MIB, "megapixels": UPLOAD_MEGAPIXELS},
        }

    async def pictures(self, source: str, search: str = "", start: int = 0, around: str = "") -> dict[str, Any]:
        """A part of a source's list, and its vocabulary; the part that has the picture `around`, if one does."""
        own = self.gallery.source(source)
        names = await self._read(own.names, search.strip().lower())
        words = await self._read(lambda: own.vocabulary)
        start = names.index(around) // PAGE * PAGE if around in names else max(0, start)
        part = list(names[start : start + PAGE])
        return {"names": part, "start": start, "total": len(names), "vocabulary": words}

    async def picture(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A picture's facts: its size, the size of its view, the names to choose words from."""
        shown = await self._shown(_checked(Named, raw))
        size = shown.picture.sample.size
        known = bool(shown.picture.objects.regions)
        broken = [f"'{one.id}': {reason}" for one, reason in shown.picture.failed]
        more = [f"{len(broken) - 3} more"] if len(broken) > 3 else []
        return {
            "size": size,
            "view": view_size(size),
            "truth": known,
            "broken": [*map(self.said, broken[:3]), *more],
            "vocabulary": shown.vocabulary,
        }

    async def pixels(self, raw: Mapping[str, Any]) -> tuple[bytes, str]:
        """A picture's view, as a file's bytes and their media type."""
        shown = await self._shown(_checked(Named, raw))
        return await asyncio.to_thread(picture_file, shown.picture.sample.image)

    async def thumb(self, raw: Mapping[str, Any]) -> tuple[bytes, str]:
        """A small view for the list."""
        asked = _checked(Named, raw)
        return await self._read(self.gallery.thumb, asked.source, asked.name)

    async def upload(self, content: bytes, called: str) -> dict[str, Any]:
        """Take a picture; the reply names it."""
        name = await self._read(self.gallery.uploads.take, content, called[:200] or "your picture")
        return {"source": self.gallery.uploads.label, "name": name}

    async def truth(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The objects under the first positive click."""
        asked = _checked(Clicked, raw)
        shown = await self._shown(asked)
        return await asyncio.to_thread(truth, shown, _clicks(asked, shown))

    async def record(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a prompt; the answer, how many are kept, is given once it is on the disk."""
        if self.recordings is None:
            raise UserError("this server records nothing; `try --record FOLDER` does.")
        asked = _checked(Recorded, raw)
        shown = await self._shown(asked)
        clicks = _clicks(asked, shown)
        instance = next((one for one in shown.picture.objects.instances if one.id == asked.instance), None)
        if instance is None:
            raise UserError(f"no instance '{asked.instance[:200]}' in {shown.picture.sample.id}.")
        row = {
            "id": asked.id,
            "dataset": asked.source,
            "image_id": shown.picture.sample.id,
            "instance_id": instance.id,
            "category": instance.category,
            "text": asked.text.strip() or None,
            "clicks": [vars(click) for click in clicks],
            "seconds": asked.seconds,
        }
        # Recording waits for the disk, so it is not done in the event loop, where all browsers would wait. Each
        # recording is a file of its own, so several threads may write at once.
        await asyncio.to_thread(record, self.recordings, row)
        return {"kept": await asyncio.to_thread(count, self.recordings)}

    async def predict(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A method's candidates; or its error, if it fails."""
        # `waited_ms` holds the time in the queue as well. The method's own two times leave that out, so that a slow
        # neighbour is not taken for a slow method.
        asked = _checked(Asked, raw)
        shown = await self._shown(asked)
        started = time.perf_counter()
        answer: Answer = await self._called("ask", asked, shown)
        reply = {
            "label": answer.label,
            "error": self.said(answer.error),
            "encode_ms": answer.encode_ms,
            "segment_ms": answer.segment_ms,
            "waited_ms": (time.perf_counter() - started) * 1000,
            "taken": answer.taken,
        }
        return reply | {"candidates": await asyncio.to_thread(_candidates, answer, shown, _clicks(asked, shown))}

    async def saliency(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A method's saliency map of the words as a grey PNG in base64, "" for a method without one; or its error."""
        asked = _checked(Asked, raw)
        shown = await self._shown(asked)
        seen: Seen = await self._called("saliency", asked, shown)
        png = b"" if seen.saliency is None else await asyncio.to_thread(map_file, seen.saliency)
        return {"png": base64.b64encode(png).decode("ascii"), "error": self.said(seen.error)}

    async def _called(self, what: str, asked: Asked, shown: Shown) -> Any:
        """Queue a question, and wait for its answer.

        If the browser takes the request back, this task is cancelled and cancels the future with it. A question that
        still waits is then dropped; one that is being computed ends, and its answer is kept for the next request.
        """
        if asked.method not in self.labels:
            raise UserError(f"no method '{asked.method[:200]}' here; there are: {', '.join(sorted(self.labels))}.")
        name, clicks = shown.picture.sample.id, _clicks(asked, shown)
        text = asked.text.strip() or None
        question = Question(asked.method, shown.key, name, clicks, text, shown.vocabulary, shown.present)
        return await asyncio.wrap_future(self.answering.call(what, question, shown.picture.sample.image))

    async def _shown(self, asked: Named) -> Shown:
        # A picture in memory is returned at once; only one that must be read waits for the reader's thread.
        known = self.gallery.known(asked.source, asked.name)
        return await self._read(self.gallery.shown, asked.source, asked.name) if known is None else known

    async def _read(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *args)


def _checked(model: type[T], raw: Mapping[str, Any]) -> T:
    made: T = validated(model, raw, "request")
    return made


def _clicks(asked: Clicked, shown: Shown) -> tuple[Click, ...]:
    """The clicks, checked to lie inside the picture."""
    return clicks_on(asked.clicks, shown.picture.sample.size) if asked.clicks else ()


def _candidates(answer: Answer, shown: Shown, clicks: tuple[Click, ...]) -> list[dict[str, Any]]:
    """Each candidate's view, size in pixels, own scores, and its IoU with each object under the click."""
    if answer.prediction is None:
        return []
    places = under(shown, clicks)
    return [
        {
            "counts": mask_counts(mask),
            "pixels": int(mask.sum()),
            "scores": answer.scores_of(place),
            "against": against(shown, places, mask),
        }
        for place, mask in enumerate(answer.prediction.masks)
    ]
