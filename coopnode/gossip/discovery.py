"""Finding other members' nodes on the local network by zeroconf (multicast DNS service discovery).

What is found is a hint, no more: an address where a member of this co-op may answer. Where there is no
multicast the node says so once and goes on with the other sources of addresses.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import ifaddr
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_coopnode._tcp.local."
ASK_MS = 3_000


class Discovery:
    """Announces this node and listens for others of the same co-op."""

    def __init__(self, coop_id: bytes, member_id: bytes, url: str, found: Callable[[str, bytes], None]) -> None:
        self._coop = coop_id.hex()[:16]
        self._member = member_id.hex()
        self._url = url
        self._found = found
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> bool:
        """Begin; whether the network allows it."""
        parts = urlsplit(self._url)
        if parts.hostname is None or parts.port is None:
            return False
        try:
            addresses = _own_addresses(parts.hostname)
            # A node that listens on the loopback alone is announced there alone.
            interfaces = [parts.hostname] if parts.hostname.startswith("127.") else InterfaceChoice.Default
            self._zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
            info = AsyncServiceInfo(
                SERVICE,
                f"{self._member[:12]}-{self._coop[:8]}.{SERVICE}",
                addresses=addresses,
                port=parts.port,
                properties={"coop": self._coop, "member": self._member},
                server=f"{self._member[:12]}.local.",
            )
            await self._zeroconf.async_register_service(info, allow_name_change=True)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._on_change])
        except Exception as error:  # whatever the network stack of this machine refuses
            log.info("no discovery on the local network: %s", error)
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Say goodbye and stop listening."""
        for task in list(self._tasks):
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()
        self._browser = self._zeroconf = None

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed or self._member[:12] in name:
            return
        task = asyncio.ensure_future(self._ask(zeroconf, service_type, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, ASK_MS):
            return
        hint = read_hint(info.decoded_properties, self._coop)
        if hint is None or info.port is None:
            return
        for address in info.parsed_addresses(IPVersion.V4Only):
            self._found(f"http://{address}:{info.port}", hint)


def _own_addresses(host: str) -> list[bytes]:
    """Return the IPv4 addresses to announce: that of *host*, or all of this machine when it listens on all."""
    if host != "0.0.0.0":  # noqa: S104  # compared, not listened on
        return [socket.inet_aton(socket.gethostbyname(host))]
    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [socket.inet_aton(one) for one in found if not one.startswith("127.")]


def read_hint(properties: dict[str, str | None], coop: str) -> bytes | None:
    """Return the member id that an announcement claims; None where it is of another co-op or malformed."""
    member = properties.get("member") or ""
    try:
        member_id = bytes.fromhex(member)
    except ValueError:
        return None
    return member_id if properties.get("coop") == coop and len(member_id) == 20 else None
