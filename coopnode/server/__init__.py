"""The node's HTTP side: gossip websocket, public co-op files, API, pages, and the local control socket."""
