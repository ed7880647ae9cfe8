"""Which permissions the user of REDIS_URI lacks, probed without any effect: see `shared/store/permission_probe.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from admin.checks.permissions.report import MissingPermissions, Permission, required_by
from shared.model.permissions import RedisPermission, User, command_rule, redis_permissions
from shared.model.services import Service
from shared.store.permission_probe import Denial, probe
from shared.store.redis_client import RedisClient


@dataclass(frozen=True)
class _Probe:
    permission: RedisPermission
    command: str

    @property
    def words(self) -> tuple[str, ...]:
        """The command, with the name in its place. For a pattern the pattern: it matches itself."""
        return tuple(self.permission.name if word == "*" else word for word in self.command.split())

    def rule(self, denial: Denial) -> str:
        """Return the rule that is missing in the list of users."""
        return {
            "command": command_rule(self.command),
            "channel": f"&{self.permission.name}",
            "key": f"~{self.permission.name}",
        }[denial]


async def probe_redis(client: RedisClient, services: Sequence[Service]) -> tuple[MissingPermissions, str | None]:
    """Return what the user lacks for these services, and the first other reason not to work: read-only, out of memory.

    Raises ImporterError.
    """
    table = [each for each in redis_permissions(services) if User.PRODUCER in each.users]
    shared_names = {each.name for each in table if User.OPERATOR in each.users}
    # INFO is for `importer check` alone, which reports a missing permission for it by itself.
    probes = [_Probe(each, command) for each in table for command in each.commands if command != "INFO"]
    denials, other = await probe(client, [each.words for each in probes])
    denied = [(each, denials[each.words]) for each in probes if each.words in denials]
    # Only the producer has these names; what an operator may do with the others says nothing.
    telling = [each for each in probes if each.permission.name not in shared_names and each.permission.name]
    is_producer = ("MULTI",) not in denials and any(each.words not in denials for each in telling)
    missing = [Permission(required_by(each.permission.users), each.rule(denial)) for each, denial in denied]
    missing.sort(key=lambda permission: permission.rule.startswith("+"))  # keys and channels say more than commands
    return MissingPermissions(missing, is_producer), other
