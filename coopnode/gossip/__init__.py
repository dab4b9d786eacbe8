"""Carrying between nodes: whom to call, what to say on a link, what to fetch and what to answer."""
