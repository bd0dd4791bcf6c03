"""Virtual environments that see this one's packages, to install a package in and nothing else."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def environment_of(folder: Path) -> Path:
    """A new virtual environment that sees this one's packages, but not the checkout; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A .pth file within a folder that a .pth file names is not read: an editable install's is left out.
    (folder / "lib" / own / "site-packages" / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return python
