"""Volumes: small in `make test`, the documented ones in `make drill`."""

from __future__ import annotations

import pytest

Volume = dict[str, int]


def volumes(usual: Volume, drill: Volume) -> pytest.MarkDecorator:
    """Run a test with the figures of `usual`, and as a drill with those of `drill`, as its argument `volume`."""
    return pytest.mark.parametrize(
        "volume",
        [
            pytest.param(usual, id="usual"),
            pytest.param(drill, id="drill", marks=[pytest.mark.drill, pytest.mark.timeout(3600)]),
        ],
    )
