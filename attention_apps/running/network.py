"""Whether a store of data or weights answers; the stores' own clients wait for minutes."""

from __future__ import annotations

import socket


def online(host: str, seconds: float = 3.0) -> bool:
    """Try to reach a host.

    Args:
        host: its name.
        seconds: how long to wait for it.

    Returns:
        Whether it takes a connection.
    """
    try:
        with socket.create_connection((host, 443), timeout=seconds):
            return True
    except OSError:
        return False
