"""The diagnosis of a batch that travels over STAN. Pure, from a snapshot.

A service travels over STAN if the stan_bridge's consumer receives its channel; without that consumer nothing here
applies.
"""

from admin.status.results import age, problem, with_verb
from admin.status.snapshot import Diagnosis, Snapshot
from shared.model import keys

UNRESPONSIVE_SECONDS = 60.0
"""Pieces that are out for so long without any report: workers may be slow, or unresponsive."""


def diagnose_stan(snapshot: Snapshot, channel: str, settled: str) -> Diagnosis | None:
    """Return why chunks of this channel do not settle, if they travel over STAN and the reason is known."""
    consumers = snapshot.queues.mankelis if snapshot.queues else []
    consumer = next((each for each in consumers if each.name == keys.STAN_CONSUMER), None)
    if consumer is None or not consumer.matches(channel):
        return None
    states = [process.stan_bridge for process in snapshot.stan_bridges if process.stan_bridge]
    if not states:
        return problem(
            "no_stan_bridge",
            f"No stan_bridge is running, and {channel} travels over STAN; {settled}.",
            "Start it: supervisorctl start stan_bridge. It needs STAN_URI.",
        )
    state = next((each for each in states if each.phase == "active"), None)
    if state is None and any(each.phase == "standing_by" for each in states):
        return problem(
            "stan_client_id_taken",
            f"Another client of STAN has the stan_bridge's client id; {settled}.",
            "Stop the other one, such as an importer of the STAN era, or set STAN_CLIENT_ID.",
        )
    if state is None or not state.connected:
        return problem(
            "stan_unreachable",
            f"STAN is unreachable for the stan_bridge; {settled}.",
            "Check STAN_URI and STAN_CLUSTER_ID, and whether nats-streaming-server runs: importer check",
        )
    waiting_seconds = (snapshot.at - state.waiting_since).total_seconds() if state.waiting_since else 0.0
    if state.waiting_since and waiting_seconds >= UNRESPONSIVE_SECONDS:
        return problem(
            "stan_workers_unresponsive",
            f"{with_verb(state.pieces_out, 'piece')} out over STAN, and nothing was reported for "
            f"{age(snapshot.at, state.waiting_since)}; {settled}.",
            "Restart the workers: where STAN was away for 20 s or more, they run on and never receive anything again.",
        )
    return None
