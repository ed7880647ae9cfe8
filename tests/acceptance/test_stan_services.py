"""Moving one service at a time from workers on STAN to JetStream."""

import sqlite3
from pathlib import Path

import pytest

from demo.mankeli.store import MankeliStore
from shared.model.services import BUILT_IN_TABLE
from tests.acceptance.test_stan import StanSystem, stan_system
from tests.support.programs import ProcessUnderTest

__all__ = ["stan_system"]

pytestmark = pytest.mark.slow

_SUBSET = {"SERVICES": "PERSON,PLAN,COUNTRY"}


def processed(db: Path) -> set[str]:
    """Return the services of which this store has processed anything."""
    store = MankeliStore(db)
    services = set(store.delivered())
    store.close()
    return services


def restart_bridge(system: StanSystem, **variables: str) -> ProcessUnderTest:
    """Stop the stan_bridge, and start one with other settings."""
    system.bridge.terminate()
    assert system.bridge.outcome().code == 0
    system.bridge = system.start_bridge(**variables)
    return system.bridge


@pytest.mark.timeout(240)
def test_one_service_moves_to_jetstream_and_back(stan_system: StanSystem, tmp_path: Path) -> None:
    """A service that is taken out of STAN_SERVICES goes to a mankeli on JetStream, and POST_UPDATE with it."""
    system = stan_system
    system.start_stan_mankeli("one")
    assert system.import_once(**_SUBSET).code == 0
    assert processed(system.db) == {"PERSON", "PLAN", "COUNTRY"}

    bridge = restart_bridge(system, STAN_SERVICES="PLAN,COUNTRY", STAN_POST_UPDATE="false")
    bridge.wait_for('"started"')
    new_db, table = tmp_path / "new.sqlite", tmp_path / "person.toml"
    rows = BUILT_IN_TABLE.read_text().split("[[service]]")
    table.write_text("[[service]]" + next(row for row in rows if '"PERSON"' in row))
    mankeli = ProcessUnderTest("demo.mankeli", "--db", str(new_db), "--services-file", str(table), **system.variables)
    system.stack.enter_context(mankeli).wait_for("ready")
    for service in ("PERSON", "PLAN"):
        system.sisu.touch(service, 5, seed=1)
    outcome = system.import_once(**_SUBSET)
    assert outcome.code == 0, outcome.output
    assert processed(new_db) == {"PERSON"}
    with sqlite3.connect(new_db) as store:
        assert store.execute("SELECT COUNT(*) FROM post_updates").fetchone() == (1,)

    taken = restart_bridge(system).outcome()
    assert taken.code == 2, "the mankeli still has the channel"
    assert "another consumer of the stream IMPORTER receives what stan-bridge should" in taken.output
