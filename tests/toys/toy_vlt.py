"""A VLT of narrow layers as Keras saves it, names and shapes written out; and word vectors for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ("car", "tall", "tree", "house", "the", "red", "left", "t", "-", "shirt", "do", "nt")
WORD, RNN, WIDTH, QUERIES, PLACES = 6, 8, 16, 4, 26 * 26

CONVS = [
    *((3, 3, 2), (3, 2, 4), (1, 4, 2), (3, 2, 4), (3, 4, 8), *[(1, 8, 4), (3, 4, 8)] * 2),
    *((3, 8, 8), *[(1, 8, 4), (3, 4, 8)] * 8, (3, 8, 16), *[(1, 16, 8), (3, 8, 16)] * 8),
    *((3, 16, 16), *[(1, 16, 8), (3, 8, 16)] * 4, *[(1, 16, 8), (3, 8, 16)] * 3),
    *((1, 16, 8), (3, 8, 16), (1, 16, 8), (1, 24, 8), (1, 8, 8), (1, 16, 8), (1, 8, 4), (3, 4, 8), (1, 16, 8)),
    *((1, 24, 16), (1, 16, WIDTH), (3, 14, 14), (3, 14, 14), (3, 14, 14), (1, 14, QUERIES)),
    *((3, QUERIES, 8), (3, 8, 8), (3, 8, 8), (3, 8, 8), (3, 8, 8), (3, 8, 8), (3, 8, 1)),
]
"""Kernel's side, channels in, channels out of conv2d_1 to conv2d_80."""

DENSE = [
    *((RNN, RNN), (RNN, 16), (PLACES, WIDTH), (RNN, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH)),
    *((WIDTH, WIDTH), (WIDTH, WIDTH), (2 * WIDTH, WIDTH), (WIDTH, 1), (WIDTH, PLACES)),
]


def shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Layer -> its arrays' names -> their shapes."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    norms = 0
    for number, (side, inputs, outputs) in enumerate(CONVS, 1):
        biased = {"bias:0": (outputs,)} if number in (73, 80) else {}
        found[f"conv2d_{number}"] = {"kernel:0": (side, side, inputs, outputs), **biased}
        norms += 1 if not biased else 0
        if not biased:
            found[f"batch_normalization_{norms}"] = norm(outputs)
        if number == 60:  # then come the sentence's and the product's
            found |= {f"batch_normalization_{one}": norm(16) for one in (61, 62)}
            norms = 62
    for number, (inputs, outputs) in enumerate(DENSE, 1):
        found[f"dense_{number}"] = {"kernel:0": (inputs, outputs), "bias:0": (outputs,)}
    found["bidirectional_1"] = {
        f"bidirectional_1/{way}_gru_1/{name}:0": shape
        for way in ("forward", "backward")
        for name, shape in {
            "kernel": (WORD, 3 * RNN),
            "recurrent_kernel": (RNN, 3 * RNN),
            "bias": (3 * RNN,),
        }.items()
    }
    found |= attention("multi_head_attention_1")
    for half, kinds in (("Encoder", ("Self",)), ("Decoder", ("Self", "Query"))):
        for layer in (1, 2):
            for kind in kinds:
                found |= attention(f"{half}-{layer}-MultiHead{kind}Attention", normed=True)
            name = f"{half}-{layer}-FeedForward"
            found[name] = {f"{name}_{kind}{n}:0": (WIDTH,) * (1 + (kind == "W")) for n in "12" for kind in "Wb"}
            found[f"{name}-Norm"] = {"gamma:0": (WIDTH,), "beta:0": (WIDTH,)}
    return found | {"input_1": {}, "leaky_re_lu_1": {}}


def norm(width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}:0": (width,) for name in ("gamma", "beta", "moving_mean", "moving_variance")}


def attention(name: str, normed: bool = False) -> dict[str, dict[str, tuple[int, ...]]]:
    parts = {f"{name}_{kind}{one}:0": (WIDTH,) * (1 + (kind == "W")) for one in "qkvo" for kind in "Wb"}
    after = {f"{name}-Norm": {"gamma:0": (WIDTH,), "beta:0": (WIDTH,)}} if normed else {}
    return {name: parts} | after


def checkpoint(path: Path, without: str = "", seed: int = 0) -> Path:
    """The weights as `save_weights` writes them, the layers in another order than they were made in."""
    import h5py

    rng = np.random.RandomState(seed)
    with h5py.File(path, "w") as file:
        layers = [name for name in sorted(shapes()) if name != without]
        file.attrs["layer_names"], file.attrs["backend"] = [one.encode() for one in layers], b"tensorflow"
        for layer, arrays in shapes().items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}".encode() for name in arrays]
            for name, shape in arrays.items():
                group.create_dataset(f"{layer}/{name}", data=drawn(name, shape, rng))
    return path


def drawn(name: str, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    if len(shape) > 1:
        return np.float32(rng.standard_normal(shape) * 1.6 / np.sqrt(np.prod(shape[:-1])))
    middle = 1.0 if name.startswith(("gamma", "moving_variance")) else 0.0
    return np.float32(rng.uniform(middle - 0.2, middle + 0.2, shape))


def vectors(path: Path, width: int = WORD, header: bool = False, end: str = "") -> Path:
    """A file of word vectors: GloVe's form or, with a `header` and blanks at the `end` of lines, fastText's."""
    rng = np.random.RandomState(5)
    lines = [f"{len(WORDS)} {width}"] if header else []
    lines += [f"{word} {' '.join(f'{one:.4f}' for one in rng.standard_normal(width))}{end}" for word in WORDS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
