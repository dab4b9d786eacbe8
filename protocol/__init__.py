"""The rules that every node of a sales co-operative must agree on.

Pure: no disk, no network, no clock, no chance; time and randomness arrive as arguments.
`README.md` beside this file is the specification; section numbers in docstrings refer to it.
"""
