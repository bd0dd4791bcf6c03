"""A server of toys, for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.serving.guard import Guard
from try_servers import Browser, api_of, config_of, running


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., AbstractContextManager[Browser]]:
    """Serves toys: `with served(["Marks"], folders=[...], guard=...) as browser`."""

    @contextmanager
    def start(
        methods: Sequence[str], folders: Sequence[Path] = (), guard: Guard | None = None, **changed: Any
    ) -> Iterator[Browser]:
        api = api_of(config_of(tmp_path, methods, **changed), folders, guard is not None)
        with running(api, guard) as address:
            browser = Browser(address)
            browser.api = api  # type: ignore[attr-defined]
            yield browser

    return start
