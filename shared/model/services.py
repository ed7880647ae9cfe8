"""The services that are imported, as data: what to ask SISU for, where to send it, which keys it owns in Redis.

The table itself is `services.toml`, in the order of a run; `SERVICES_FILE` names another one and `SERVICES` a
subset of it. Everything that can be wrong in such a file is found here, at start-up.
"""

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from shared.model import keys
from shared.model.errors import ConfigurationError

BUILT_IN_TABLE = Path(__file__).with_name("services.toml")

_OTHER_SUBJECTS = {keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT}
_OTHER_KEYS = {
    keys.CURRENT_EXECUTION_HASH,
    keys.POST_UPDATE_RUNNING,
    keys.PRODUCER_LOCK,
    keys.PAUSED,
    keys.RUN_REQUESTS,
    keys.RETRY_REQUESTS,
    keys.PROCESSES,
    keys.RUN,
    keys.RUNS,
    keys.SERVICES,
    keys.REWINDS,
}


class Api(StrEnum):
    """The kinds of API that SISU has; each has an address, a form of request and a shape of response."""

    ORI = "ORI"
    KORI = "KORI"
    ILMO = "ILMO"
    OSUVA = "OSUVA"
    KORI_PUBLIC = "KORI_PUBLIC"
    URN = "URN"
    GRAPHQL = "GRAPHQL"

    @property
    def is_export(self) -> bool:
        """Whether it pages by ordinal. The others return everything at once."""
        return self in {Api.ORI, Api.KORI, Api.ILMO, Api.OSUVA}


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One export endpoint, imported as a unit. A row of the table; `services.toml` explains the columns."""

    name: str
    api: Api
    channel: str
    key: str
    path: str
    one_time: bool = False
    query: str = ""


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    service: list[Service]


def load_services(path: Path = BUILT_IN_TABLE) -> tuple[Service, ...]:
    """Read the services table at `path`, in its order.

    Raises ConfigurationError, naming the file and what is wrong in it.
    """
    try:
        table = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Table)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the services table {path} cannot be used: {error}") from error
    problems = list(_problems(table.service))
    if problems:
        raise ConfigurationError(f"the services table {path} cannot be used: " + "; ".join(problems))
    return tuple(table.service)


def choose_services(table: Sequence[Service], names: Sequence[str]) -> tuple[Service, ...]:
    """Return those of `table` that `names` lists, in the table's order; all of them where `names` is empty.

    Raises ConfigurationError for a name that the table does not have.
    """
    known = {service.name for service in table}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"unknown: {', '.join(unknown)}; the table has {', '.join(sorted(known))}")
    return tuple(service for service in table if not names or service.name in names)


def find_service(services: Sequence[Service], name: str | None) -> Service | None:
    """Return the service of this name, in whatever case; None where there is none."""
    return next((service for service in services if name and service.name == name.upper()), None)


def _problems(services: Sequence[Service]) -> list[str]:
    problems = [] if services else ["it lists no service"]
    for field in ("name", "channel", "key"):
        values = [getattr(service, field) for service in services]
        problems += [f"{field} {value!r} appears twice" for value in sorted({v for v in values if values.count(v) > 1})]
    taken = _OTHER_KEYS.union(*(keys.ServiceKeys(service.key).companion_keys for service in services))
    problems += [f"key {service.key!r} is reserved" for service in services if service.key in taken]
    problems += [
        f"channel {service.channel!r} is reserved" for service in services if service.channel in _OTHER_SUBJECTS
    ]
    for service in services:
        for field in ("name", "channel", "key", "path"):
            if not getattr(service, field):
                problems.append(f"service {service.name!r} has an empty {field}")
        # A channel is one token of a subject: a dot or a wildcard in it would widen what mankelis subscribe to.
        if any(character in service.channel for character in ".*> \t\r\n"):
            problems.append(f"channel {service.channel!r} has a character that a NATS subject's token cannot have")
        if service.api.is_export and service.one_time:
            problems.append(f"service {service.name!r}: an export has an ordinal of its own and cannot be one_time")
        if not service.api.is_export and not service.one_time:
            problems.append(f"service {service.name!r}: {service.api} has no ordinal, so it must be one_time")
        if (service.api is Api.GRAPHQL) != bool(service.query):
            problems.append(f"service {service.name!r}: a query goes with the API GRAPHQL, and only with it")
    return problems
