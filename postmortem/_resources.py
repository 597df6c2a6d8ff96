"""Where templates/ and fixtures/ lie: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

from postmortem.errors import PostmortemError

PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """The folder or file `name` ("templates", "fixtures/nan-death"); PostmortemError where the installation lacks it."""
    for place in (PACKAGE / name, PACKAGE.parent / name):
        if place.exists():
            return place
    raise PostmortemError(f"this installation of postmortem is incomplete: {name} is missing; install it again")
