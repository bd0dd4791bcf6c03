"""The data set plugins, and, for every other name, the installed Hugging Face `datasets` package.

Both are called `datasets`. This folder comes first on the path; a name or a module that it lacks (`load_dataset`,
`datasets.features`, ...) is looked up in Hugging Face's package, whose `__init__` is then run in this module once.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from pkgutil import extend_path
from types import ModuleType
from typing import Any

__path__ = extend_path(__path__, __name__)
_state = {"loaded": False}


def _is_own(name: str) -> bool:
    folder = Path(__file__).parent
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _hugging_face() -> str | None:
    """Its package's `__init__.py`, if it is installed."""
    for entry in sys.path:
        spec = PathFinder.find_spec("datasets", [entry])
        if spec and spec.origin and Path(spec.origin).with_name("arrow_dataset.py").is_file():
            return spec.origin
    return None


def _run_once(origin: str) -> None:
    _state["loaded"] = True
    try:
        exec(compile(Path(origin).read_text("utf-8"), origin, "exec"), globals())
    except BaseException:
        _state["loaded"] = False
        raise


def __getattr__(name: str) -> Any:
    # `from datasets import scenes` asks here first, before it imports the plugin.
    if _is_own(name) or _state["loaded"] or name.startswith("__"):
        raise AttributeError(f"module 'datasets' has no attribute '{name}'")
    origin = _hugging_face()
    if origin is None:
        raise AttributeError("this is the harness's datasets/; Hugging Face's package is not installed")
    _run_once(origin)
    return globals()[name] if name in globals() else __getattr__(name)


class _PackageFirst:
    """Lets `import datasets.features` run Hugging Face's `__init__` first, as Python does for any package.

    That imports the module asked for, so the loader has nothing to do but to hand it over.
    """

    @classmethod
    def find_spec(cls, name: str, *_path_and_target: Any) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        if package != __name__ or not module or _state["loaded"] or _is_own(module.partition(".")[0]):
            return None
        origin = _hugging_face()
        if origin is not None:
            _run_once(origin)
        found = sys.modules.get(name)
        if found is None:
            return None
        spec = ModuleSpec(name, cls, loader_state=found.__spec__)  # type: ignore[arg-type]
        found.__spec__ = None  # Or importlib would take it instead of ours, and run the module a second time.
        return spec

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state if module.__spec__ else None


sys.meta_path.insert(0, _PackageFirst)
