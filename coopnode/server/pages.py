"""Placeholder until the pages are written."""

from __future__ import annotations

from aiohttp import web

from coopnode.node import Node


def add_pages(app: web.Application, node: Node) -> None:
    """Add the pages."""
