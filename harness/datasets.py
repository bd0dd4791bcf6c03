"""The data sets that come with the harness: the checkout's folder datasets/, which a wheel carries in this package.

The folder is imported by this name only, and has no `__init__.py`, so that `import datasets` is Hugging Face's package.
"""

from harness.places import shipped

__path__ = [str(shipped("datasets"))]
