"""The nine kinds of plugins: the name of each, the folder of the harness' own, and the form that one must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.places import shipped
from harness.plugins.interfaces import Dataset, Learner, Logger, Method, Saliency


@dataclass(frozen=True)
class Kind:
    """One kind of plugin.

    Attributes:
        name: The name that `harness list` takes; an entry point's group is `harness.<name>`.
        noun: The word for one of them in messages.
        decorator: The function of `harness` that registers one.
        folder: The folder of the plugins that come with the harness, by its path in the checkout.
        takes: The arguments that a plugin of this kind is called with, if it is a function.
        base: The class that a plugin of this kind extends, if it is a class.
        options: Whether a function takes further arguments, which a config gives under `options`.
        form: The form of a name, as a regular expression, and a name that fits.
    """

    name: str
    noun: str
    decorator: str
    folder: str
    takes: tuple[str, ...] = ()
    base: type | None = None
    options: bool = False
    form: tuple[str, str] = (r"[^\s:]+", "mine")

    @property
    def package(self) -> str:
        """The package under which the files of the folder are imported."""
        return ".".join(["harness", *Path(self.folder.removeprefix("harness/")).parts])

    @property
    def files(self) -> list[Path]:
        """The files of the folder that may hold plugins: NAME.py, and NAME/NAME.py for one of several files."""
        folder = shipped(self.folder)
        nested = (file for file in sorted(folder.glob("*/*.py")) if file.stem == file.parent.name)
        return [*sorted(folder.glob("*.py")), *nested]

    def shown(self, file: Path) -> str:
        """A file of the folder by its path in the checkout, for messages."""
        return str(Path(self.folder, file.relative_to(shipped(self.folder))))

    def module(self, file: Path) -> str:
        """The name under which a file of the folder is imported."""
        return ".".join([self.package, *file.relative_to(shipped(self.folder)).with_suffix("").parts])


_COLUMN = (r"[A-Za-z]\w*", "dice")
_VERSIONED = (r"[a-z]\w*/v[1-9]\d*", "family/v1")
_MASKS = ("truth", "prediction")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("methods", "method", "register_method", "methods", base=Method),
        Kind("datasets", "data set", "register_dataset", "datasets", base=Dataset),
        Kind("saliency", "saliency", "register_saliency", "methods/saliency", base=Saliency),
        Kind("learners", "learner", "register_learner", "methods/learners", base=Learner),
        Kind("metrics", "metric", "register_metric", "harness/masks", _MASKS, form=_COLUMN),
        Kind("clicks", "click rule", "register_click_rule", "harness/clicks", ("at",), form=_VERSIONED, options=True),
        Kind("texts", "text rule", "register_text_rule", "harness/config", ("asked",)),
        Kind("tables", "table", "register_table", "harness/report/tables", ("rows", "context")),
        Kind("loggers", "logger", "register_logger", "harness/running/loggers", base=Logger),
    )
}
"""Every kind by its name."""
