"""Real-time live blogging: reporters post, everybody reads at once, nobody misses a thing."""

from importlib.metadata import version

__version__ = version("liveblog")
