"""The node that each member of a sales co-operative runs: store, network, HTTP, pages, command line.

The rules live in the package `protocol`; everything here needs the world.
"""

__version__ = "0.1.0"
