"""The socket of a page's server, opened before anything is promised to people."""

import socket

from components.errors import BadInput


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; port 0 is any that is free.

    Raises:
        BadInput: it cannot be had, as where another process has the port.
    """
    if not host:  # which would be all addresses of this machine
        raise BadInput("--host is empty: give an address, such as 127.0.0.1")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        why = (getattr(error, "strerror", None) or str(error)).partition(" (while ")[0]
        raise BadInput(f"{written(host)}:{port} cannot be listened on: {why}; give another --port or --host") from error


def written(host: str) -> str:
    """As an address in a browser has it."""
    return f"[{host}]" if ":" in host else host
