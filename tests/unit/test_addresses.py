import pytest

from chalicelib.values.addresses import Destination, is_public, literal_address, parse_url

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "192.0.1.1",
    "198.17.255.255",  # just below the block for benchmarks
    "223.255.255.255",
    "172.32.0.1",  # just above the private block
    "100.63.255.255",
    "100.128.0.0",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",  # IPv4 as an IPv6-only network reaches it
]
NOT_PUBLIC = [
    ("0.0.0.0", "this machine"),
    ("0.1.2.3", "this network"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.100.100.200", "metadata of Alibaba Cloud"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback, too"),
    ("168.63.129.16", "metadata of Azure"),
    ("169.254.169.254", "metadata of AWS, Azure and Google"),
    ("169.254.170.2", "credentials of ECS"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.192", "metadata of Oracle"),
    ("192.0.0.9", "protocol assignments"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarks"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::8.8.8.8", "IPv4-compatible, of a public address"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:169.254.169.254", "IPv4-mapped"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("64:ff9b::127.0.0.1", "NAT64"),
    ("64:ff9b::169.254.169.254", "NAT64"),
    ("64:ff9b:1::1", "local NAT64"),
    ("100::1", "discard"),
    ("2001::1", "Teredo"),
    ("2001:0:7f00:1::", "Teredo"),
    ("2001:10::1", "ORCHID"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "6to4 of loopback"),
    ("2002:808:808::", "6to4 of a public address"),
    ("2606:4700::5efe:127.0.0.1", "ISATAP"),
    ("2606:4700::200:5efe:127.0.0.1", "ISATAP"),
    ("3fff::1", "documentation"),
    ("4000::1", "not allocated"),
    ("5f00::1", "segment routing"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "metadata of AWS"),
    ("fd20:ce::254", "metadata of Google"),
    ("fe80::1", "link-local"),
    ("fe80::1%1", "link-local, of an interface"),
    ("2606:4700::1111%1", "of an interface"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("ff0e::1", "multicast of global scope"),
    ("", "nothing"),
    ("localhost", "a name"),
    ("0x7f.1", "not as the C library returns it"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """What anybody on the internet can reach may be reached."""
    assert is_public(address)


@pytest.mark.parametrize(("address", "what"), NOT_PUBLIC)
def test_not_public(address: str, what: str) -> None:
    """Nothing else may, an address inside another one included."""
    assert what
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", Destination("https", "example.com", 443, "/")),
        ("HTTPS://Example.COM/A?b=%20", Destination("https", "example.com", 443, "/A?b=%20")),
        ("http://example.com:8080/x", Destination("http", "example.com", 8080, "/x")),
        ("https://[2606:4700::1111]:444/", Destination("https", "2606:4700::1111", 444, "/")),
        ("https://b\u00fccher.example/", Destination("https", "xn--bcher-kva.example", 443, "/")),
        ("https://example.com./", Destination("https", "example.com.", 443, "/")),
        ("https://my_hook.example/", Destination("https", "my_hook.example", 443, "/")),
        ("https://example.com?x", Destination("https", "example.com", 443, "/?x")),
        ("https://example.com/a@b:c", Destination("https", "example.com", 443, "/a@b:c")),
    ],
)
def test_urls(url: str, expected: Destination) -> None:
    """A URL says in one way only where it leads."""
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "https://",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1\\@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nHost: other",
        "https://example.com/ x",
        "https://example.com/\tx",
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/#fragment",
        "https://example.com#@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:/",
        "https://example.com:65536/",
        "https://example.com:x/",
        "https://example.com:80:81/",
        "https://.example.com/",
        "https://example..com/",
        "https://-.example/",
        "https://exa%6dple.com/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://[127.0.0.1]/",
        "https://[v1.x]/",
        "https://::1/",
        "https://example.com/\u00e9",
        "https://example.com/{x}",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://example.com/" + "a" * 2048,
        "https://\ud800.example/",
        "https://*.example.com/",
    ],
    ids=ascii,
)
def test_urls_that_are_refused(url: str) -> None:
    """What is no URL, or what two parsers may read in two ways, leads nowhere."""
    with pytest.raises(ValueError, match=r"^must "):
        parse_url(url)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("127.0.0.256", None),
        ("example.com", None),
        ("1.2.3.4.5", None),
        ("1e3.example", None),
    ],
)
def test_literals(host: str, expected: str | None) -> None:
    """An address is recognized in every notation that the C library takes."""
    assert literal_address(host) == expected
