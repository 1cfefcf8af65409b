"""TLS for both ends, from PEM files.

Lives here: contexts, and the words for files that are no use. Not here: the handshake (asyncio does it), and what a
failed one counts as (subscriber.py, listener.py)."""

from __future__ import annotations

import ssl
from pathlib import Path

from dcim.core.errors import Permanent


def client_context(
    ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """For a connection to a broker. ca_file: who must have signed the broker's certificate; the system's authorities
    when None. cert_file, key_file: our own certificate, where the broker wants one.

    Raises Permanent when a file cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, ca_file)
    if cert_file is not None:
        _load_certificate(context, cert_file, key_file)
    return context


def server_context(cert_file: Path, key_file: Path, ca_file: Path | None = None) -> ssl.SSLContext:
    """For the listener. ca_file: who must have signed the clients' certificates, which are then compulsory; None asks
    clients for none. Raises Permanent when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, cert_file, key_file)
    if ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, ca_file)
    return context


def _load_authorities(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        what, todo = "holds no certificate in PEM", "Put the authority's certificate there."
        raise Permanent(what, where=str(ca_file), todo=todo) from error
    except OSError as error:
        raise _unreadable(error, ca_file) from error


def _load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    for file in (cert_file, key_file):
        try:
            if file is not None:
                file.read_bytes()
        except OSError as error:
            raise _unreadable(error, file or cert_file) from error

    def refuse_password() -> str:
        raise Permanent(
            "is encrypted, and nobody is there to type its password",
            where=str(key_file or cert_file),
            todo="Store the key without a password, readable by this service alone.",
        )

    try:
        context.load_cert_chain(cert_file, key_file, password=refuse_password)
    except ssl.SSLError as error:
        raise Permanent(
            "is no certificate in PEM, or does not fit its key",
            where=str(cert_file),
            todo=f"Check it against {key_file or cert_file}.",
        ) from error


def _unreadable(error: OSError, file: Path) -> Permanent:
    return Permanent(f"cannot be read: {error.strerror}", where=str(file), todo="Check the path and who may read it.")
