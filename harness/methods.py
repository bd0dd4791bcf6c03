"""The methods that come with the harness: the folder methods/ of the checkout, which a wheel carries in this package.

The folder is imported by this name only, so that another package named `methods` can be used beside it.
"""

from harness.places import shipped

__path__ = [str(shipped("methods"))]
