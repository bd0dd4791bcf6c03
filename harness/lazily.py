"""Lets a package offer names that are imported only when they are first used.

Most packages offer their names by plain imports. If that would load pandas, torch or scipy for every import of one
small file of the package, its `__init__` lists the module of each name instead:

    if TYPE_CHECKING:  # for type checkers and editors
        from harness.storage.store import Store

    __all__ = ["Store"]
    __getattr__ = imported_when_asked(__name__, {"Store": "store"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def imported_when_asked(package: str, lies_in: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package; Python calls it for a name that the package does not hold yet.

    Args:
        package: The package's `__name__`.
        lies_in: Each name and the module of the package that defines it ("Store": "store").

    Raises:
        AttributeError: From the function that is returned, for any other name.
    """

    def found(name: str) -> Any:
        if name not in lies_in:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{lies_in[name]}"), name)

    return found
