"""All SQL of the node, and nothing else: no network, no HTML, no decision of the protocol.

`open_store` gives a `Store`: one writer connection, used by one thread, and a reader connection a
thread. What is written is durable (WAL, synchronous=FULL) when the transaction ends.
"""

from coopnode.store.database import Store, StoreError, Tables, open_store

__all__ = ["Store", "StoreError", "Tables", "open_store"]
