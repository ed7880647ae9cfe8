"""A rig whose mankelis are of the STAN era, behind a stan_bridge and a real nats-streaming-server.

It has the interface of the other rig, so that the same tests run on both.
"""

import asyncio
import itertools
from typing import Any

from demo.servers.processes import Server
from shared.broker.stan.session import StanIdentity, StanSession
from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from tests.faults.harness.rig import FaultRig
from tests.faults.harness.supervisor import KillableProcess, Supervised

SHORT_HEARTBEATS = "hb_interval: 1s\n  hb_timeout: 1s\n  hb_fail_count: 1"
"""So that STAN notices in seconds that a worker died, as its ack wait is in seconds, too."""

_OPTIONS = {
    "--duplicate-feedback": ("--report-twice",),
    "--silent": ("--drop-every", "1"),
    "--answer-half": ("--drop-every", "2"),
    "--fail-all": ("--fail-every", "1"),
}
"""What an option of the other mankeli is here."""


class StanRig(FaultRig):
    """The parts of the other rig, a STAN and a stan_bridge, which starts with the first mankeli."""

    def __init__(self, *arguments: Any, stan: Server, **options: Any) -> None:
        self.stan = stan
        self._client_numbers = itertools.count(1)
        self.bridge: Supervised | None = None
        super().__init__(*arguments, **options)
        self.variables |= {"STAN_URI": stan.uri, "STAN_BRIDGE_PORT": "0"}
        self.mankeli_variables |= {"STAN_URI": stan.uri}

    def start_bridge(
        self, crash_point: str = "none", occurrence: int = 1, *arguments: str, wait: bool = True, **variables: str
    ) -> Supervised:
        """Start a stan_bridge. The first process crashes at the crash point, later ones do not."""
        self.bridge = self.supervised(
            lambda number: self.launch("stan_bridge", crash_point, occurrence, number, variables, *arguments)
        )
        if wait:
            self.bridge.wait_for('"started"')
        return self.bridge

    def send_over_stan(self, channel: str, data: bytes) -> None:
        """Publish a message on a channel, as a stranger."""

        async def send() -> None:
            login = NatsLogin(NatsAddress.parse(self.stan.uri))
            session = await StanSession.connect(login, StanIdentity("importer-nats", "stranger", "stranger"))
            await session.publish(channel, data)
            await session.close()

        asyncio.run(send())

    def start_mankeli(self, *arguments: str, ack_wait_seconds: float = 2.0) -> Supervised:
        """Start a mankeli of the STAN era, and wait until it is subscribed; before the first one, a stan_bridge."""
        if self.bridge is None:
            self.start_bridge()
        translated = [word for argument in arguments for word in _OPTIONS.get(argument, (argument,))]
        command = ("--db", str(self.db), "--ack-wait-seconds", str(max(1, round(ack_wait_seconds))), *translated)

        def start(_: int) -> KillableProcess:
            client_id = f"mankeli-{next(self._client_numbers)}"
            return KillableProcess("demo.stan_mankeli", "--client-id", client_id, *command, **self.mankeli_variables)

        mankeli = self.supervised(start)
        mankeli.wait_for("ready")
        return mankeli
