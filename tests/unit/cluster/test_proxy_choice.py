"""Which proxy leads to a server; expected values are those of the library that kubectl uses."""

import pytest

from tasks.cluster.proxy_choice import ProxyRefused, bypasses_proxy, choose_proxy

NAME = "https://api.example.com:6443"
ADDRESS = "https://10.1.2.3:6443"
SIX = "https://[2001:db8::5]:6443"


@pytest.mark.parametrize(
    ("server", "no_proxy", "expected"),
    [
        (NAME, "", False),
        (NAME, "*", True),
        (NAME, "other.com, *", True),
        (NAME, "example.com", True),
        (NAME, ".example.com", True),
        (NAME, "*.example.com", True),
        (NAME, "api.example.com", True),
        (NAME, "API.Example.COM", True),
        (NAME, ".api.example.com", False),
        (NAME, "*.api.example.com", False),
        (NAME, "ple.com", False),
        (NAME, "i.example.com", False),
        (NAME, "example.com:6443", True),
        (NAME, "example.com:443", False),
        (NAME, ".example.com:6443", True),
        (NAME, " other.com ,, example.com ", True),
        (NAME, ":6443", False),
        (NAME, "10.0.0.0/8", False),
        ("https://api.example.com", "example.com:443", True),
        ("http://api.example.com", "example.com:80", True),
        (ADDRESS, "10.0.0.0/8", True),
        (ADDRESS, "10.1.2.3/8", True),
        (ADDRESS, "192.168.0.0/16", False),
        (ADDRESS, "10.1.2.3", True),
        (ADDRESS, "10.1.2.3:6443", True),
        (ADDRESS, "10.1.2.3:443", False),
        (ADDRESS, "10.1.2.30", False),
        (ADDRESS, "1.2.3", True),
        (ADDRESS, "10.1.2.3/33", False),
        (SIX, "2001:db8::/32", True),
        (SIX, "2001:db8::5", True),
        (SIX, "2001:DB8:0::5", True),
        (SIX, "[2001:db8::5]", False),
        (SIX, "[2001:db8::5]:6443", True),
        (SIX, "[2001:db8::5]:443", False),
        (SIX, "10.0.0.0/8", False),
        ("https://localhost:6443", "", True),
        ("https://127.0.0.1:6443", "", True),
        ("https://127.9.9.9:6443", "", True),
        ("https://[::1]:6443", "", True),
        ("https://localhost.example.com", "", False),
    ],
)
def test_no_proxy_is_read_as_kubectl_reads_it(server: str, no_proxy: str, expected: bool) -> None:
    assert bypasses_proxy(server, no_proxy) is expected


@pytest.mark.parametrize(
    ("server", "proxy_url", "environ", "expected"),
    [
        (NAME, None, {}, None),
        (NAME, None, {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        (NAME, None, {"https_proxy": "http://p:3128"}, "http://p:3128"),
        (NAME, None, {"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        (NAME, None, {"HTTPS_PROXY": "https://p"}, "https://p"),
        (NAME, None, {"HTTP_PROXY": "http://p"}, None),
        (NAME, None, {"ALL_PROXY": "http://p"}, None),
        ("http://api.example.com", None, {"HTTP_PROXY": "http://p"}, "http://p"),
        (NAME, None, {"HTTPS_PROXY": "http://p", "NO_PROXY": ".example.com"}, None),
        (NAME, None, {"HTTPS_PROXY": "http://p", "no_proxy": ".example.com"}, None),
        (NAME, None, {"HTTPS_PROXY": "socks5://p", "NO_PROXY": "*"}, None),
        (NAME, "http://k:1", {"HTTPS_PROXY": "http://p"}, "http://k:1"),
        (NAME, "http://k:1", {"NO_PROXY": "*"}, "http://k:1"),
        ("https://127.0.0.1:1", "http://k:1", {}, "http://k:1"),
        (NAME, "https://me:word@k", {}, "https://me:word@k"),
    ],
)
def test_kubeconfig_proxy_comes_before_the_environment_s(
    server: str, proxy_url: str | None, environ: dict[str, str], expected: str | None
) -> None:
    assert choose_proxy(server, proxy_url=proxy_url, environ=environ) == expected


@pytest.mark.parametrize(
    ("proxy_url", "environ", "named"),
    [
        ("socks5://me:tell-nobody@p:1080", {}, r"proxy-url names a SOCKS proxy \(socks5://p\)"),
        ("socks5h://p:1080", {}, r"SOCKS proxy \(socks5h://p\)"),
        (None, {"HTTPS_PROXY": "socks5://me:tell-nobody@p"}, "HTTPS_PROXY names a SOCKS proxy"),
        ("ftp://p", {}, r"another kind \(ftp://p\)"),
        ("http://", {}, "names no host"),
        ("http://me:tell-nobody@p:port", {}, "is not an address"),
    ],
)
def test_proxy_that_cannot_be_used_is_refused_by_name(
    proxy_url: str | None, environ: dict[str, str], named: str
) -> None:
    with pytest.raises(ProxyRefused, match=named) as refused:
        choose_proxy(NAME, proxy_url=proxy_url, environ=environ)

    assert "tell-nobody" not in str(refused.value)
