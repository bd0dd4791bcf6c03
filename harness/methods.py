"""The methods that come with the harness: the folder methods/ of the checkout, which a wheel carries in this package.

The folder is known by this name alone, so that a package `methods` of somebody else's stands beside it unharmed.
"""

from harness.places import shipped

__path__ = [str(shipped("methods"))]
