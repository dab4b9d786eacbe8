"""Real packets really lost: network namespaces joined by a bridge, with nftables rules at each door.

Needs Linux, `ip`, `nft`, `unshare` and `nsenter`, and either root or a system that lets users make namespaces of
their own. Nothing of it touches the machine's network, and all of it goes with the processes that hold it.
The addresses look public: then nodes call each other by the rules that hold on the Internet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

TOOLS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux", "nsenter": "util-linux"}
REFUSALS = ("Operation not permitted", "not supported", "Unknown device type", "No such file or directory")
"""How a kernel says that it has not got something, or not for this user. All else that goes wrong is our mistake."""


class Holder:
    """A process that does nothing but keep a network namespace."""

    def __init__(self, inside: Holder | None = None) -> None:
        """Make a namespace, as the owner of *inside* where that is given: only it may join the two by a wire."""
        own_users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", "--net", *own_users] if inside is None else [*inside.enter, "unshare", "--net"]
        # `cat` ends with the pipe to this process, however that ends; its echo says that the namespace is there.
        self.process = subprocess.Popen([*command, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != b"\n":
            self.close()
            raise PermissionError("this user may not make network namespaces")

    @property
    def enter(self) -> list[str]:
        """The words before a command that is to run in the namespace."""
        own_users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.process.pid), *own_users, "--net", "--"]

    def run(self, *words: str) -> str:
        """Run a command in the namespace; return what it prints."""
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            kind = PermissionError if any(word in done.stderr for word in REFUSALS) else RuntimeError
            raise kind(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def close(self) -> None:
        """Let the namespace go once nobody is in it."""
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Host(Holder):
    """A machine on the bridge. Its rules look at what comes in."""

    def __init__(self, street: Street, number: int) -> None:
        super().__init__(street)
        self.address = f"11.0.0.{number}"
        try:
            self._join(street, number)
        except BaseException:
            self.close()
            raise

    def _join(self, street: Street, number: int) -> None:
        street.run("ip", "link", "add", f"host{number}", "type", "veth", "peer", "eth0", "netns", str(self.process.pid))
        street.run("ip", "link", "set", f"host{number}", "master", "bridge", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("nft", "add table inet door; add chain inet door enter { type filter hook input priority 0; }")

    def drop(self, *what: str) -> None:
        """Throw away packets that come in and fit, counting them: `ip saddr 11.0.0.2`, or whatever nft can say."""
        self.run("nft", f'add rule inet door enter iifname "eth0" {" ".join(what)} counter drop')

    def drop_one_in(self, number: int) -> None:
        """Throw away one in so many packets, by chance."""
        self.drop("numgen", "random", "mod", str(number), "<", "1")

    def take_no_calls(self) -> None:
        """Throw away every packet that begins a connection, as a router does to those from outside."""
        self.drop("tcp", "flags", "&", "(syn|ack)", "==", "syn")

    def drop_nothing(self) -> None:
        """Let everything in again."""
        self.run("nft", "flush chain inet door enter")

    def dropped(self) -> int:
        """How many packets the rules have thrown away since the last `drop_nothing`."""
        words = self.run("nft", "list", "chain", "inet", "door", "enter").split()
        return sum(int(words[place + 1]) for place, word in enumerate(words) if word == "packets")


class Street(Holder):
    """A bridge in a namespace of its own, and the hosts on it."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: list[Host] = []
        try:
            self.run("ip", "link", "add", "bridge", "type", "bridge")
            self.run("ip", "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise

    def build(self) -> Host:
        """Add a host."""
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def close(self) -> None:
        """Take everything down."""
        for host in getattr(self, "hosts", []):
            host.close()
        super().close()


@cache
def why_not() -> str | None:
    """Return why there can be no namespaces here; None where there can. For pytest.skip."""
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"network namespaces need '{tool}' of the package {package}"
    try:
        street = Street()
        try:
            street.build().drop_one_in(20)
        finally:
            street.close()
    except PermissionError as error:
        # No installing helps here: tests/conftest.py lets this pass even where everything is required.
        return f"kernel: {error}"
    return None
