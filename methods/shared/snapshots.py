"""Loads networks of Hugging Face's `transformers` from a snapshot: a folder on this disk, as their hub has it.

A snapshot holds config.json, the weights as .safetensors, and the files of a processor, which prepares images and texts
as in the network's training. Nothing is downloaded here: the user downloads a snapshot before, by the command that a
message names. Pickles (pytorch_model.bin) and code of a snapshot are never loaded.

`transformers` is an extra, and importing it takes seconds: only functions that load a snapshot import it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.plugins.interfaces import TextLimit
from harness.structures import UserError
from harness.weights.catalogue import hint

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")
"""Files of which one holds a snapshot's vocabulary."""

INSTALL = "pip install -c constraints.txt '.[transformers]'"


def package(where: str) -> Any:
    """The module `transformers`.

    Args:
        where: The file that needs it, for messages.

    Raises:
        UserError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"{where}: found no package transformers ({error}); wanted it installed. Run `{INSTALL}`."
        ) from error
    return transformers


def check_snapshot(folder: Path, kinds: Collection[str], where: str) -> str:
    """The `model_type` of a snapshot. A folder that is none, or another model's, is refused before any import.

    Args:
        folder: The snapshot.
        kinds: The `model_type` that its config.json may state.
        where: The file that needs it, for messages.

    Raises:
        UserError: It is none.
    """
    config = folder / "config.json"
    if not config.is_file():
        fetched = hint(folder) or "Download it: `hf download OWNER/NAME --local-dir FOLDER`."
        raise UserError(
            f"{where}: found no {config}; wanted a snapshot of the hub, a folder on this disk. {fetched} Or correct "
            "`snapshot` in the config. Nothing is downloaded while a run works."
        )
    found = str(snapshot_config(folder).get("model_type", ""))
    if found not in kinds:
        raise UserError(
            f"{where}: {config}: found a snapshot of {found or 'no model'}; wanted one of {' or '.join(kinds)}. "
            "Correct `snapshot`."
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{where}: {folder}: found no weights as .safetensors; wanted model.safetensors beside config.json. "
            "Pickled weights (.bin) are not loaded. Download the whole snapshot again."
        )
    return found


def load_network(name: str, folder: Path, where: str) -> nn.Module:
    """A network with its weights, in float32 on the CPU, without gradients.

    Args:
        name: The class in `transformers`.
        folder: A snapshot that `check_snapshot` accepts.
        where: The file that needs it, for messages.

    Raises:
        UserError: The weights are damaged, or some are missing or have other shapes than in config.json; the package
            itself would draw these at random.
    """
    network, about = _loaded(
        name,
        folder,
        where,
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    missing = sorted(map(str, about["missing_keys"]))
    misfits = sorted(str(one[0] if isinstance(one, tuple) else one) for one in about["mismatched_keys"])
    for what, names in (("lacks", missing), ("has other shapes of", misfits)):
        if names:
            raise UserError(
                f"{where}: {folder}: found weights that do not fit config.json: the snapshot {what} {len(names)} "
                f"tensors ({', '.join(names[:2])}, ...); wanted those of {name}. Download it again, or correct "
                "`snapshot`."
            )
    return network.eval().requires_grad_(False)


def load_processor(name: str, folder: Path, where: str, words: int | None = None) -> Any:
    """A snapshot's processor, which prepares images and texts.

    Args:
        name: The class in `transformers`.
        folder: The snapshot.
        where: The file that needs it, for messages.
        words: How many pieces of words the network knows; None for a processor of images alone.

    Raises:
        UserError: Its files are missing or damaged, or its vocabulary is another network's.
    """
    processor = _loaded(name, folder, where)
    # Without these files the package silently makes a vocabulary of a few marks, in which no word is known.
    there = any((folder / file).is_file() for file in VOCABULARIES)
    known = len(processor.tokenizer) if words is not None and there else 0
    # The network may have some more rows than the tokeniser has pieces, since such sizes are often rounded up; a tenth
    # is the most that passes. More pieces than rows cannot be: their numbers would have no embedding.
    if words is not None and not 0.9 * words <= known <= words:
        raise UserError(
            f"{where}: {folder}: found a vocabulary of {known} pieces; wanted the network's, of {words}, in "
            f"{' or '.join(VOCABULARIES)}. Download the whole snapshot again."
        )
    return processor


def _loaded(name: str, folder: Path, where: str, **options: Any) -> Any:
    transformers = package(where)
    try:
        with _quiet(transformers):
            return getattr(transformers, name).from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # The package raises OSError, ValueError, SafetensorError and others for such a file.
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}: {folder}: {name} cannot be loaded from this snapshot ({type(error).__name__}: {reason}). "
            "Download it again, with all its files, or correct `snapshot`."
        ) from error


def snapshot_config(folder: Path, part: str = "") -> dict[str, Any]:
    """A snapshot's config.json, or the mapping under a key of it; empty if the file or the key is not there."""
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
        found = found.get(part) if part else found
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def snapshot_text_limit(
    folder: Path, most: int, reader: str, said: Callable[[str], str] = str, cut: bool = False
) -> list[TextLimit]:
    """How many pieces of words a snapshot's network reads; no weights are looked at, nor `transformers` imported.

    Args:
        folder: The snapshot.
        most: The number of pieces.
        reader: The network's name in messages.
        said: Text -> the words that the network is given for it.
        cut: Whether longer texts are cut; otherwise they are failed rows.

    Returns:
        The limit; none if the package that counts pieces is not installed, or its file is missing or damaged.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return []
    try:
        tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # The package raises nothing narrower. Loading the snapshot reports the fault.
        return []
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def beyond(text: str) -> int:
        pieces = len(tokenizer.encode(said(text)).ids)
        return pieces if pieces > most else 0

    return [TextLimit(most, "pieces of words", reader, beyond, cut)]


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Run a block without the package's progress bars and its warnings of tensors that it does not need."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
