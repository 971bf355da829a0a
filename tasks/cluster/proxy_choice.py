"""Which proxy leads to a server: the kubeconfig's, else the environment's, as kubectl reads it.

The rules of `NO_PROXY` are those of Go's `httpproxy`: addresses, CIDR blocks, names with everything
under them, ports, `*`; `localhost` and loopback addresses never take the environment's proxy.
Pure; knows no socket.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SUPPORTED = ("http", "https")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ProxyRefused(ValueError):
    """A proxy that cannot be used; the sentence names it without its credentials."""


@dataclass(frozen=True)
class _Target:
    """Host and port of a server; `address` is None for a name."""

    host: str
    port: str
    address: _Address | None


def choose_proxy(server: str, *, proxy_url: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the proxy to use; None for a direct connection.

    A kubeconfig's `proxy-url` is used always, `NO_PROXY` concerns the environment's alone.

    Args:
        server: The server's URL, http or https.
        proxy_url: The kubeconfig's `proxy-url`, if any.
        environ: Holds `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or the same in small letters.

    Raises:
        ProxyRefused: It is neither an http nor an https proxy.
    """
    if proxy_url:
        return _checked(proxy_url, "the kubeconfig's proxy-url")
    url = URL(server)
    variable = f"{url.scheme.upper()}_PROXY"
    found = _variable(environ, variable)
    if not found or bypasses_proxy(server, _variable(environ, "NO_PROXY")):
        return None
    return _checked(found, variable)


def bypasses_proxy(server: str, no_proxy: str) -> bool:
    """Tell whether a server is reached without the environment's proxy."""
    target = _target_of(server)
    if target.host == "localhost" or (target.address is not None and target.address.is_loopback):
        return True
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_matches(entry, target) for entry in entries if entry)


def _target_of(server: str) -> _Target:
    url = URL(server)
    host = (url.host or "").lower()
    port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
    return _Target(host, str(port), _address(host))


def _matches(entry: str, target: _Target) -> bool:
    if entry == "*":
        return True
    network = _network(entry)
    if network is not None:
        return target.address is not None and target.address in network
    host, port = _split_port(entry)
    if not host or (port and port != target.port):
        return False
    address = _address(host)
    if address is not None:
        return address == target.address
    host = host.removeprefix("*")
    if host.startswith("."):  # everything under the name, and not the name itself
        return target.host.endswith(host)
    return target.host == host or target.host.endswith(f".{host}")


def _split_port(entry: str) -> tuple[str, str]:
    """Split `host:port`; an IPv6 address has brackets only with its port."""
    if entry.startswith("[") and "]:" in entry:
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in entry:
        return None
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _checked(proxy: str, source: str) -> str:
    written = proxy if "://" in proxy else f"http://{proxy}"
    try:
        url = URL(written)
    except ValueError:
        # Not chained: what is no address may hold a password.
        raise ProxyRefused(f"{source} is not an address") from None
    if url.scheme not in _SUPPORTED:
        kind = "SOCKS proxy" if url.scheme.startswith("socks") else "proxy of another kind"
        raise ProxyRefused(
            f"{source} names a {kind} ({url.scheme}://{url.host}), and only http:// and https:// "
            "proxies are supported"
        )
    if not url.host:
        raise ProxyRefused(f"{source} names no host")
    return written
