# SPDX-License-Identifier: Apache-2.0
"""Who may ask: tokens from a file or the environment, compared in constant time, never from the command line;
or certificates."""

import hashlib
import hmac
import ipaddress
import os

from ..error import require

LEAST = 16      # characters of a token


class Keys:
    """Tokens by the name of whoever has them. `principal` says who asks."""

    def __init__(self, tokens: dict[str, str]):
        self._digests = {name: _digest(token.encode()) for name, token in tokens.items()}

    def __len__(self):
        return len(self._digests)

    def principal(self, values: list[bytes]) -> str | None:
        """Of all values of the header (or metadata) `authorization`; None: nobody that is known.

        Every token is compared, so that time says nothing of which.
        """
        scheme, _, token = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        given, found = _digest(token.strip()), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest) and scheme.lower() == b"bearer":
                found = name
        return found


def _digest(token):
    return hashlib.sha256(token).digest()


def load_keys(path=None) -> Keys | None:
    """Keys of a file, one "token" or "name token" a line, or of FOVEATE_SERVE_TOKEN; None where there is neither."""
    lines, where = [os.environ.get("FOVEATE_SERVE_TOKEN", "")], "FOVEATE_SERVE_TOKEN"
    if path is not None:
        with open(path, encoding="ascii", errors="replace") as file:
            lines, where = [line.strip() for line in file if line.strip() and not line.startswith("#")], "file"
    elif not lines[0]:
        return None
    tokens = {}
    for number, line in enumerate(lines, 1):
        name, _, token = line.rpartition(" ")
        name = name.strip() or f"token-{number}"
        good = len(token) >= LEAST and token.isascii() and token.isprintable()
        require(good, f"serve: token of {where}", f"{len(token)} characters",
                f"{LEAST} or more of printable ASCII, no blanks")
        require(name.isprintable() and name not in tokens, f"serve: token of {where}", "a name twice, or of no letters",
                "a name for each")
        tokens[name] = token
    require(tokens, f"serve: token of {where}", "none", "one a line")
    return Keys(tokens)


def subject(names, certificate):
    """Who a certificate is of: its first common name, or where it has none the SHA-256 of its DER."""
    return names[0] if names and names[0] else hashlib.sha256(certificate).hexdigest()


def loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_bind(host, keys, client_ca):
    """A service that others reach knows who they are, or does not start."""
    require(loopback(host) or keys is not None or client_ca is not None, "serve: host",
            f"{host} without a token or client certificates", "127.0.0.1, or either of them",
            "Set FOVEATE_SERVE_TOKEN, or give --token-file or --tls-client-ca.")
