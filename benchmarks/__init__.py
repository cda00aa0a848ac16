"""Benchmarks: zstream beside its peers. `python -m benchmarks --help` says how to run them.

    jobs/     what is to be done: the input and the user's functions, which all peers share
    peers/    how each peer does it: a program that prints one JSON object
    ...       the rest decides what runs in turns with what, and writes it down

`jobs/`, `peers/` and `held.py` run in the peers' own environments, so they import nothing but the
standard library and that peer.
"""
