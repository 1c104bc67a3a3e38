"""What each listener answers with: the portal has everything, the plain one status alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.app import create_app
from web.decisions import DECISION_ROUTES
from web.front import Front
from web.gate import GATE_ROUTES
from web.hot import STATUS_ROUTES

if TYPE_CHECKING:
    from ops.node import Node


def portal(node: Node) -> Front:
    """Pages, APIs, decisions and status: the raw routes stand in front of the framework."""
    return Front(node, (*STATUS_ROUTES, *DECISION_ROUTES, *GATE_ROUTES), create_app(node))


def status(node: Node) -> Front:
    """OCSP, CRLs and authorities' certificates, for anyone, over plain HTTP."""
    return Front(node, STATUS_ROUTES)
