"""Compares the training in a checkpoint's metadata with the config, before anything runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import places
from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.trained import Trained, trained_by
from harness.config.wording import Text, words_of
from harness.plugins import files, parameters, registry
from harness.structures import UserError

_ABSENT = "nothing"

_log = logging.getLogger(__name__)


def training_of(method: MethodEntry) -> Trained | None:
    """The training of a method's checkpoint: by its own metadata or, before it exists, by the entry's recipe.

    None for weights without such metadata, such as published ones.
    """
    path = files.paths("methods", method.name, method.params).get("checkpoint")
    own = trained_by(path) if path is not None and path.is_file() else None
    return own or (Trained(method.train) if method.train else None)


def check_answers(methods: Iterable[MethodEntry]) -> None:
    """Refuse methods with another saliency than in their weights' training.

    Raises:
        UserError: There are such methods; the message names all of them. Entries with `saliency_differs: footnote` do
            not count.
    """
    wrong = [
        f"method '{label(method)}': its saliency is not that of its training: {said}. Wanted the same saliency, "
        "since with another the masks say little about the method. Correct it, or write `saliency_differs: footnote` "
        "beside `params`: every table then says so."
        for method in methods
        if method.saliency_differs == "refuse" and (said := "; ".join(differing(method)))
    ]
    if wrong:
        raise UserError("\n".join(dict.fromkeys(wrong)))


def differing(method: MethodEntry) -> list[str]:
    """The differences between a method's saliency and the one of its training: `temperature: trained with 1.0, ...`.

    A network learns to use its saliency map as it was in training. With another temperature the map is sharper or
    paler, and the masks say little about the method.
    """
    trained = training_of(method)
    then = trained.recipe.learner.params if trained else {}
    taken = parameters.parameters_of(registry.find("methods", method.name))
    return [
        said
        for key, (annotation, _) in taken.items()
        if parameters.plugin_kind(annotation) == "saliency" and then.get(key) and method.params.get(key)
        for said in _differing(f"{key}.", _spec(then[key]), method.params[key])
    ]


def _spec(value: Any) -> Mapping[str, Any]:
    # A recipe in a checkpoint may name a saliency alone; a checked config always has name and params.
    return {"name": value, "params": {}} if isinstance(value, str) else {"params": {}, **value}


def _differing(at: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The parameters that differ; one that a config does not name has its default."""
    if then["name"] != now["name"]:
        yield f"{at}name: trained with {then['name']}, used with {now['name']}"
        return
    saliency = registry.find("saliency", now["name"])
    for key, (_, default) in parameters.parameters_of(saliency).items():
        before, after = (one["params"].get(key, default) for one in (then, now))
        # Incidental parameters, such as the device, change no map.
        if key not in saliency.incidental and not _same(before, after):
            yield f"{at}{key}: trained with {_shown(before)}, used with {_shown(after)}"


def _same(before: Any, after: Any) -> bool:
    """Whether two values are equal as JSON, or are paths of files with equal content.

    If one of the two files is not on this machine, equal names count.
    """
    if json.dumps(before, default=str) == json.dumps(after, default=str):
        return True
    # Numbers are compared as numbers, since YAML's 1 and a checkpoint's 1.0 differ as JSON. Two texts may be paths.
    if not (isinstance(before, str) and isinstance(after, str)):
        return isinstance(before, int | float) and isinstance(after, int | float) and before == after
    paths = [places.located(one) for one in (before, after)]
    there = [path for path in paths if path.is_file()]
    if len(there) == 2:
        return len({places.sha256(path) for path in paths}) == 1
    return len(there) == 1 and paths[0].name == paths[1].name


def _shown(value: Any) -> str:
    return _ABSENT if value is None else str(value)


def classes_trained_on(trained: Trained | None, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of a data set that the weights were trained on, perhaps under another data set's names.

    If the names differ, two classes are the same if they share a word in harness/config/words.csv: VOC's "aeroplane" is
    COCO's "airplane", and "tvmonitor" has the synonym of "tv".
    """
    return _known(trained.classes if trained else (), classes)


def _known(learnt: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    if {*learnt} <= {*classes}:
        return tuple(name for name in classes if name in learnt)
    known = {word for name in learnt for word in _words(name)}
    return tuple(name for name in classes if known & _words(name))


def knows_names(trained: Trained | None, classes: Sequence[str]) -> bool:
    """Whether all classes of the training are classes of a data set, so that its other classes are surely unseen."""
    return trained is not None and bool(trained.classes) and {*trained.classes} <= {*classes}


def seen_classes(method: MethodEntry, trained: Trained | None, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that count as seen on a data set without a split: the checkpoint's, or else the config's.

    Those of the config come with the data set's own names for them, as in `classes_trained_on`.
    """
    own = trained.classes if trained and knows_names(trained, classes) else ()
    return own or with_own_names(tuple(method.trained_on.classes), classes)


def with_own_names(learnt: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Classes of a training, with a data set's own names for them."""
    return tuple(dict.fromkeys((*learnt, *_known(learnt, classes))))


def check_classes(method: MethodEntry, trained: Trained | None) -> None:
    """Warn if the config names fewer classes than the checkpoint was trained on; the checkpoint's count."""
    named, own = {*method.trained_on.classes}, {*(trained.classes if trained else ())}
    if named & own and (more := sorted(own - named)):
        _log.warning(
            "%s: the config says that it was trained on %d classes, its checkpoint says %d, with %s among them. The "
            "checkpoint's classes are used; correct `trained_on.classes`, or leave it out.",
            *(label(method), len(named), len(own), ", ".join(more[:3])),
        )


def _words(name: str) -> set[str]:
    words = words_of(Text())
    return {one.lower() for one in (name, words.said(name), words.rows.get(name, {}).get("synonym")) if one}
