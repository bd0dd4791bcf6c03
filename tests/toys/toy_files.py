"""Files as data sets have them: pictures of noise, and SBD's masks in MATLAB's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import scipy.io
import scipy.sparse


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random pixels, uint8; the same for the same shape and seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(*shape: int, seed: int = 0) -> PIL.Image.Image:
    """An image of random pixels; `shape` is (h, w, 3), or (h, w) for a grey one."""
    return PIL.Image.fromarray(noise(*shape, seed=seed))


def gtinst(segmentation: Any, categories: Any) -> dict[str, Any]:
    """SBD's struct as the official files have it: fields in this order, outlines as sparse matrices in a cell array.

    Args:
        segmentation: Object number of each pixel; 0 for none.
        categories: Class of each object, as a sequence of numbers or as the column that the file holds.
    """
    outlines = np.empty((len(np.ravel(categories)), 1), object)
    for number in range(len(outlines)):
        edges = np.abs(np.diff((np.asarray(segmentation) == number + 1).astype(float), axis=-1)) > 0
        outlines[number, 0] = scipy.sparse.csc_matrix(edges)
    column = categories if isinstance(categories, np.ndarray) else np.array(categories, np.uint8)
    column = column.reshape(-1, 1) if column.ndim == 1 else column
    return {"Segmentation": segmentation, "Boundaries": outlines, "Categories": column}


def write_sbd(path: Path, segmentation: Any, categories: Any, packed: bool = True) -> Path:
    """Writes `inst/*.mat` of SBD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"GTinst": gtinst(segmentation, categories)}, do_compression=packed)
    return path
