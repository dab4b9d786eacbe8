"""A co-op of five shops on this machine, to look at: `coopnode demo`.

Uses the command line's own ways only: what it shows, members can do. Nothing but the invitation connects
the five nodes; each is its own process with its own folder and port, and ends when this process ends.
"""
