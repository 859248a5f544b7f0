"""Where webhooks never go: decided for the address that a connection is made to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery.attempt import attempt
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.errors import ConfigError
from bridge.model import Claim
from bridge.net.destinations import Destinations
from tests.delivery.conftest import utc_now
from tests.delivery.servers import receiver, says

Make = Callable[..., Endpoint]
MakeClaim = Callable[..., Claim]

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="


class Names(AbstractResolver):
    """A DNS that answers with these addresses, another list each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer."""
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host, "host": each, "port": port, "proto": 0, "flags": 0,
                "family": socket.AF_INET6 if ":" in each else socket.AF_INET,
            }
            for each in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("169.254.169.254", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("64:ff9b::a9fe:a9fe", "a link-local address"),
        ("fd00:ec2::254", "the address of a cloud's metadata service"),
        ("0.0.0.0", "an unspecified address"),
    ],
)
async def test_a_name_that_leads_there_is_not_followed(
    address: str, why: str, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """The attempt fails with a sentence, and is tried again like any other: a DNS may be wrong."""
    endpoint = endpoint_at("http://crm.example.com/hook")
    async with open_transport(endpoint, tls, Names([address, address])) as transport:
        outcome = await attempt(transport, endpoint, claim_of(), utc_now)
    assert outcome.error == "address"
    assert outcome.detail == f"the host leads to {why}, where no webhook goes"


async def test_an_allowed_address_beside_refused_ones_is_used(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Each address is judged when its socket is made; what is wrong beside it does no harm."""
    async with receiver(says(200)) as server:
        url = server.url.replace("127.0.0.1", "crm.example.com")
        names = Names(["169.254.169.254", "0.0.0.0", "127.0.0.1"])
        endpoint = endpoint_at(url)
        async with open_transport(endpoint, tls, names) as transport:
            outcome = await attempt(transport, endpoint, claim_of(), utc_now)
    assert outcome.status == 200
    assert server.connections == 1


async def test_a_name_is_judged_again_when_it_leads_elsewhere(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """One good answer of the DNS is no permit for the next one."""
    async with receiver(says(200, "Connection: close")) as server:
        url = server.url.replace("127.0.0.1", "crm.example.com")
        endpoint = endpoint_at(url, destinations=Destinations.of([ip_network("127.0.0.1/32")]))
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        async with open_transport(endpoint, tls, names) as transport:
            first = await attempt(transport, endpoint, claim_of(), utc_now)
            transport._pool.clear_dns_cache()  # what ten seconds do
            second = await attempt(transport, endpoint, claim_of(), utc_now)
    assert first.status == 200
    assert (second.status, second.error) == (None, "address")
    assert second.detail == "the host leads to a loopback address, where no webhook goes"
    assert len(server.requests) == 1


async def test_a_literal_address_is_judged_too(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """It isn't looked up, so nothing else would see it."""
    async with receiver(says(200)) as server:
        endpoint = endpoint_at(server.url, destinations=Destinations.of(["public"]))
        async with open_transport(endpoint, tls) as transport:
            outcome = await attempt(transport, endpoint, claim_of(), utc_now)
    assert outcome.error == "address"
    assert server.connections == 0


async def test_a_proxy_is_judged_too(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """What is connected to is the proxy."""
    async with receiver(says(200)) as proxy:
        endpoint = endpoint_at(
            "http://crm.example.com/hook", proxy=proxy.url, destinations=Destinations.of(["public"])
        )
        async with open_transport(endpoint, tls) as transport:
            outcome = await attempt(transport, endpoint, claim_of(), utc_now)
    assert outcome.error == "address"
    assert proxy.connections == 0


@pytest.mark.parametrize(
    ("url", "delivery", "problem"),
    [
        ("http://169.254.169.254/latest", {}, "leads to a link-local address"),
        ("http://2852039166/", {}, "leads to a link-local address"),  # the same as a number
        ("http://0xa9.0xfe.0xa9.0xfe/", {}, "leads to a link-local address"),
        ("http://[::ffff:169.254.169.254]/", {}, "leads to a link-local address"),
        ("http://[fd00:ec2::254]/", {}, "leads to the address of a cloud's metadata service"),
        ("http://127.0.0.1/", {"networks": ("public",)}, "leads to a loopback address"),
        ("http://10.1.2.3/", {"networks": ("10.2.0.0/16",)}, "leads to a private address"),
        ("http://crm.example.com/", {"hosts": ("example.com",)}, "names a host that is not in"),
        ("http://badexample.com/", {"hosts": ("*.example.com",)}, "names a host that is not in"),
        ("http://example.com/", {"hosts": ("*.example.com",)}, "names a host that is not in"),
    ],
)
def test_a_config_that_can_never_work_is_refused(
    url: str, delivery: dict[str, object], problem: str
) -> None:
    """What the URL itself says needs no look-up: `check` and the start refuse it."""
    settings = EndpointSettings(name="crm", url=url, secret=SECRET)
    with pytest.raises(ConfigError) as refused:
        Endpoint.from_settings(3, settings, DeliverySettings(**delivery))
    assert str(refused.value).startswith(f"endpoints.3.url: {problem}")


@pytest.mark.parametrize(
    ("url", "delivery"),
    [
        ("http://127.0.0.1:9000/", {}),
        ("http://localhost/", {"networks": ("public",)}),  # a name: judged when it is looked up
        ("https://crm.example.com/", {"hosts": ("*.example.com", "other.example")}),
        ("https://CRM.Example.com./", {"hosts": ("Crm.example.COM",)}),
        ("http://10.1.2.3/", {"networks": ("public", "10.0.0.0/8"), "hosts": ("10.1.2.3",)}),
        ("http://[::1]/", {"networks": ("loopback",), "hosts": ("::1",)}),
    ],
)
def test_what_may_work_is_taken(url: str, delivery: dict[str, object]) -> None:
    """Loopback is allowed by default, and names are compared without case."""
    settings = EndpointSettings(name="crm", url=url, secret=SECRET)
    Endpoint.from_settings(0, settings, DeliverySettings(**delivery))


def test_a_proxy_at_such_an_address_is_refused() -> None:
    """It is connected to, whatever the endpoint's URL is."""
    settings = EndpointSettings(
        name="crm", url="http://crm.example.com/", secret=SECRET, proxy="http://169.254.1.1:3128"
    )
    with pytest.raises(ConfigError, match=r"endpoints\.0\.proxy: leads to a link-local address"):
        Endpoint.from_settings(0, settings, DeliverySettings())


@pytest.mark.parametrize("wrong", ["lan", "10.0.0.1/8", 3, "*"])
def test_a_wrong_network_is_told(wrong: object) -> None:
    """The sentence says what can be written."""
    with pytest.raises(ValueError, match=r'must be "public", "private", "loopback", or a network'):
        DeliverySettings(networks=(wrong,))


@pytest.mark.parametrize("wrong", ["", "*.", "https://example.com", "example.com/x", "a b"])
def test_a_wrong_host_is_told(wrong: str) -> None:
    """A URL is no host."""
    with pytest.raises(ValueError, match="is no host like"):
        DeliverySettings(hosts=(wrong,))
