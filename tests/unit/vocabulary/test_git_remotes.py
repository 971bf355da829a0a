import pytest

from tasks.vocabulary.git_remotes import find_forge, parse_remote, push_address


@pytest.mark.parametrize(
    ("address", "api_url", "project"),
    [
        ("https://github.com/o/r", "https://api.github.com", "o/r"),
        ("https://github.com/o/r.git", "https://api.github.com", "o/r"),
        ("git@github.com:o/r.git", "https://api.github.com", "o/r"),
        ("ssh://git@github.example:2222/o/r.git", "https://github.example/api/v3", "o/r"),
        ("https://github.example:8443/o/r", "https://github.example:8443/api/v3", "o/r"),
        ("https://acme.ghe.com/o/r", "https://api.acme.ghe.com", "o/r"),
        ("https://gitlab.com/g/s/p.git", "https://gitlab.com/api/v4", "g/s/p"),
        ("http://gitlab.example:81/g/p", "http://gitlab.example:81/api/v4", "g/p"),
    ],
)
def test_address_tells_the_api(address: str, api_url: str, project: str) -> None:
    remote = parse_remote(address)
    assert remote is not None

    forge = find_forge(remote)

    assert forge is not None
    assert (forge.api_url, forge.project) == (api_url, project)


def test_named_forge_and_api_count_before_the_host() -> None:
    remote = parse_remote("https://git.example/code/g/p.git")
    assert remote is not None

    forge = find_forge(remote, "gitlab", "https://git.example/code/api/v4/")

    assert forge is not None
    assert (forge.api_url, forge.project) == ("https://git.example/code/api/v4", "g/p")


@pytest.mark.parametrize(
    "address",
    [
        "file:///srv/r.git",
        "/srv/r.git",
        "git://host/r.git",
        "https://user:password@host/r.git",
        "https://token@host/r.git",
        "ext::sh -c x",
        "--upload-pack=x",
        "https://host",
        "https://host:port/r",
        "ssh://-oProxyCommand=x/r",
    ],
)
def test_address_that_nothing_is_pushed_to_is_none(address: str) -> None:
    assert parse_remote(address) is None


@pytest.mark.parametrize("address", ["https://git.example/o/r", "https://github.com/o"])
def test_unknown_server_or_project_is_none(address: str) -> None:
    remote = parse_remote(address)
    assert remote is not None

    assert find_forge(remote) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://gitlab.com/g/p", "https://gitlab.com/g/p.git"),
        ("https://gitlab.com/g/p.git", "https://gitlab.com/g/p.git"),
        ("https://git.example/p", "https://git.example/p"),
        ("git@gitlab.com:g/p", "git@gitlab.com:g/p"),
    ],
)
def test_known_servers_are_pushed_to_without_a_redirection(address: str, expected: str) -> None:
    remote = parse_remote(address)
    assert remote is not None

    assert push_address(remote, None) == expected
