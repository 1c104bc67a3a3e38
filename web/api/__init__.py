"""The REST API: views that parse, ask for a permit, call one use case and render."""

from __future__ import annotations

from flask import Blueprint

from web.api import (
    access,
    applications,
    authorities,
    certificates,
    contradictions,
    events,
    health,
    meta,
    persons,
    registers,
    requests,
    sessions,
    totp,
)

_MODULES = (
    *(access, applications, authorities, certificates, contradictions, events, health),
    *(meta, persons, registers, requests, sessions, totp),
)


def blueprints() -> list[Blueprint]:
    """Every part of the API."""
    return [module.routes for module in _MODULES]
