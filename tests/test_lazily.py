"""A name of a package's face is imported when it is asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import harness.storage
from harness.storage.store import Store


def test_a_name_is_what_its_module_defines() -> None:
    assert harness.storage.Store is Store


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'harness\.storage' has no attribute 'Shop'"):
        harness.storage.Shop  # noqa: B018


def test_the_package_alone_loads_no_pandas() -> None:
    code = "import sys, harness.storage, harness.results, harness.page; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
