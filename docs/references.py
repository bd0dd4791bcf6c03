"""Writes docs/config.md and docs/api.md from the code: `make references`.

Keys, types and defaults are those of the config's models, the lines on them those of their docstrings; the names of the
API are those of `harness.__all__`. Only the examples are written here, and tests load each of them.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import harness
from harness.config import click_protocol, method_entry, recipe, run_config, wording
from harness.config.parts import Model, Plugin
from harness.plugins.annotations import default_in_words, in_words
from harness.plugins.docstrings import entries, prose, section
from harness.plugins.kinds import KINDS

DOCS = Path(__file__).resolve().parent

MADE = "<!-- Made from the code by `make references`; change the docstrings there. -->"

MODELS: tuple[tuple[str, type[Model], str], ...] = (
    (
        "A run",
        run_config.RunConfig,
        "run: mine\ndatasets: [{name: scenes, params: {split: val, count: 20}}]\n"
        "methods: [{name: click_only, params: {checkpoint: methods/weights/scenes_click_only.safetensors}}]\n"
        "clicks: {max_clicks: 1}\ntext: given\nmetrics: [iou, boundary_iou]\ntables: [leaderboard]\nseed: 0",
    ),
    ("A plugin", Plugin, "name: folder\nlabel: my photographs\nparams: {root: data/mine}"),
    (
        "A method",
        method_entry.MethodEntry,
        "name: sam\nlabel: SAM ViT-B\nparams: {checkpoint: weights/sam_vit_b_01ec64.pth, backbone: vit_b}\n"
        "trained_on: {name: SA-1B}\ngpus: 0.5\nvariants: [{label: no words, text: none}, {label: words}]",
    ),
    ("A variant of a method", method_entry.Variant, "label: three clicks\nclicks: {max_clicks: 3}"),
    ("What a method was trained on", method_entry.TrainedOn, "name: COCO\nclasses: [person, car]"),
    ("Clicks", click_protocol.Clicks, "strategy: paper/v1\noptions: {margin: 0.5}\nmax_clicks: 1\ndraws: 5"),
    ("Start", click_protocol.Start, "rule: box/v1"),
    ("Text", wording.Text, 'rule: class_name\ntemplate: "a photo of a {}"'),
    ("Workers", run_config.Workers, "count: 4\ngpus: 1\nimages_per_batch: 2"),
    ("Effort", run_config.Effort, "click_s: 1.5\nword_s: 0.8"),
    (
        "A training recipe",
        recipe.Recipe,
        "learner: {name: prompted_deeplab, params: {encoder: tu-regnetx_002}}\n"
        "datasets: [{name: scenes, params: {split: train}}]\nsteps: 600\nbatch: 16\n"
        "optimizer: {name: sgd, lr: 0.01}\nschedule: {name: poly}",
    ),
    ("Optimizer", recipe.Optimizer, "name: adamw\nlr: 0.0003\nbetas: [0.9, 0.99]"),
    ("Schedule", recipe.Schedule, "name: cosine\nwarmup: 100\nmin_lr: 0.00001"),
    ("Validation", recipe.Validation, "datasets: [{name: scenes, params: {split: val}}]\nevery: 200\nexamples: 64"),
)
"""What a config is made of: a heading, its model, and an example."""


def config_page() -> str:
    """Every key of a run's config and of a training recipe."""
    top = (
        f"{MADE}\n\n# Every key of a config\n\n"
        "A run's config is a YAML file such as `configs/quickstart.yaml`. `python -m harness plan CONFIG` checks one\n"
        "and runs nothing; `--set workers.count=2` overrides a key. A key that is not here is refused, and the "
        "message\nnames the nearest one. What goes into `params` is up to the plugin: `python -m harness list methods "
        "NAME`\nshows it."
    )
    return "\n\n".join([top, *(_model(*one) for one in MODELS)]) + "\n"


def _model(title: str, model: type[Model], example: str) -> str:
    """A section on one model: what it is, its keys, an example."""
    head = "| key | type | default | what it is |\n|---|---|---|---|\n"
    rows = "".join(_row(*one) for one in keys(model).items())
    return f"## {title}\n\n{prose(model)}\n\n{head}{rows}\n```yaml\n{example}\n```"


def keys(model: type[BaseModel]) -> dict[str, tuple[str, str, str]]:
    """Key -> its type, its default and a line on it.

    Raises:
        KeyError: The model's docstring says nothing of one.
    """
    said = entries(model, "Attributes")
    hints = get_type_hints(model, include_extras=True)
    return {
        name: (_linked(hints[name], name), _default(field), said[name]) for name, field in model.model_fields.items()
    }


def _linked(annotation: Any, key: str) -> str:
    """The type in words; the name of a model becomes a link to its section.

    `Plugin` is the type of several kinds of plugins. A key is called as its kind, `loggers` or `learner`, so it tells
    which kind it takes.
    """
    text = in_words(annotation)
    kind = next((one.noun for one in KINDS.values() if key in (one.name, one.name.removesuffix("s"))), "plugin")
    for title, model, _ in MODELS:
        shown = f"a {kind}" if model is Plugin else title.lower()
        text = re.sub(rf"\b{model.__name__}\b", f"[{shown}](#{title.lower().replace(' ', '-')})", text)
    return text.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{'{}' if value == {} else default_in_words(value)}`"


def _row(key: str, said: tuple[str, str, str]) -> str:
    kind, default, text = said
    return f"| `{key}` | {kind} | {default} | {text.replace('|', chr(92) + '|')} |\n"


def api_page() -> str:
    """Every name of `harness.__all__`."""
    top = (
        f"{MADE}\n\n# `from harness import ...`\n\n"
        "Every public name, with its arguments as its docstring has them. [plugins.md](plugins.md) has whole "
        "examples,\n"
        "[results.md](results.md) the columns of the rows, [glossary.md](glossary.md) the words."
    )
    groups = [(title, [one for one in harness.__all__ if belongs(one)]) for title, belongs in GROUPS]
    sections = [f"## {title}\n\n" + "\n\n".join(map(_name, names)) for title, names in groups]
    return "\n\n".join([top, *sections]) + "\n"


CLASSES = ("Method", "Dataset", "Saliency", "Learner")

GROUPS = (
    ("Functions", lambda name: name[0].islower() and not name.startswith("register_")),
    ("Plugins that are classes", lambda name: name in CLASSES),
    ("Decorators", lambda name: name.startswith("register_")),
    ("What flows", lambda name: name[0].isupper() and name not in CLASSES),
)
"""Heading -> which names stand under it."""


def _name(name: str) -> str:
    """A section on one name: signature, docstring, and a class's own methods."""
    thing = getattr(harness, name)
    parts = [f"### `{name}`", f"```python\n{_signature(name, thing)}\n```", *_told(thing)]
    if isinstance(thing, type) and name in CLASSES:
        parts += [_method(one, value) for one, value in vars(thing).items() if _is_public(one, value)]
    return "\n\n".join(parts)


def _signature(name: str, thing: Any) -> str:
    """A function with an argument a line; a class that is extended takes what its author says."""
    if name in CLASSES or (isinstance(thing, type) and issubclass(thing, Exception)):
        return f"class {name}"
    return called(name, inspect.signature(thing), list(inspect.signature(thing).parameters.values()))


def called(name: str, signature: inspect.Signature, shown: list[inspect.Parameter]) -> str:
    """`name(argument: type = default) -> type`, with an argument a line where there are several."""
    lines = [_argument(one) for one in shown]
    if first := next((number for number, one in enumerate(shown) if one.kind is one.KEYWORD_ONLY), None):
        lines.insert(first, "*")
    returns = (
        "" if signature.return_annotation in (None, "None", inspect.Signature.empty) else signature.return_annotation
    )
    arrow = f" -> {_type(returns)}" if returns else ""
    if len(lines) < 3:
        return f"{name}({', '.join(lines)}){arrow}"
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){arrow}"


def _argument(one: inspect.Parameter) -> str:
    """`radius: float = 20.0`."""
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    typed = "" if one.annotation is one.empty else f": {_type(one.annotation)}"
    made = "..." if "<factory>" in repr(one.default) or " object at " in repr(one.default) else repr(one.default)
    equal = f" = {made}" if typed else f"={made}"
    return f"{stars}{one.name}{typed}{'' if one.default is one.empty else equal}"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _told(thing: Any) -> list[str]:
    """A docstring in Markdown: its text, its arguments or attributes as a list, what it returns and raises."""
    parts = [prose(thing)]
    for heading in ("Args", "Attributes", "Raises"):
        if found := entries(thing, heading):
            lines = (f"- `{name}`: {text}" for name, text in found.items())
            parts.append("\n".join([f"{heading}:\n", *lines]))
    if returned := section(thing, "Returns"):
        parts.append(f"Returns: {' '.join(returned.split())}")
    return parts


def _is_public(name: str, value: Any) -> bool:
    function = getattr(value, "__func__", value)
    return not name.startswith("_") and inspect.isfunction(function)


def _method(name: str, value: Any) -> str:
    """A method of a class that is extended; `self` is left out."""
    function = getattr(value, "__func__", value)
    signature = inspect.signature(function)
    shown = called(name, signature, list(signature.parameters.values())[1:])
    return "\n\n".join([f"```python\n{shown}\n```", *_told(function)])


PAGES = {"config.md": config_page, "api.md": api_page}
"""File in docs/ -> what writes it."""

if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
