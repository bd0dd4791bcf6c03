"""The data set plugins, and, for every other name, the installed Hugging Face `datasets` package.

Both are called `datasets`. This folder comes first on the path; a name that it lacks (`load_dataset`,
`Dataset`, ...) is looked up in Hugging Face's package, whose `__init__` is then run in this module once.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)
_state = {"loaded": False}


def _hugging_face() -> str:
    for entry in sys.path:
        spec = PathFinder.find_spec("datasets", [entry])
        if spec and spec.origin and Path(spec.origin).with_name("arrow_dataset.py").is_file():
            return spec.origin
    raise AttributeError("this is the harness's datasets/; Hugging Face's package is not installed")


def __getattr__(name: str) -> Any:
    own = (Path(__file__).parent / f"{name}.py").is_file()  # `from datasets import scenes` asks here first.
    if own or _state["loaded"] or name.startswith("__"):
        raise AttributeError(f"module 'datasets' has no attribute '{name}'")
    origin = _hugging_face()
    _state["loaded"] = True
    try:
        exec(compile(Path(origin).read_text(), origin, "exec"), globals())
    except BaseException:
        _state["loaded"] = False
        raise
    return globals()[name]
