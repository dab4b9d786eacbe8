"""A co-op in one process over virtual time: the same rules as the daemon's, thousands of nodes, one seed.

`run.simulate` runs a scenario and returns its figures. Nothing here opens a socket, asks a clock or touches a disk.
"""
