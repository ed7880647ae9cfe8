"""Whether the secrets in the settings are kept: not the shipped ones, and not sent in clear text."""

from admin.checks.finding import Finding
from shared.config.nats_address import NatsAddress
from shared.config.redis_address import RedisAddress
from shared.config.settings import ProducerSettings
from shared.model.permissions import SHIPPED_PASSWORD_PREFIX


def check_secrets(settings: ProducerSettings) -> list[Finding]:
    """Return a warning for each variable whose secret is known to others, or becomes so. No secret is shown."""
    passwords = {
        "NATS_URI": NatsAddress.parse(settings.nats_uri.get_secret_value()).password,
        "REDIS_URI": RedisAddress.parse(settings.redis_uri.get_secret_value()).password,
    }
    shipped = [name for name, password in passwords.items() if (password or "").startswith(SHIPPED_PASSWORD_PREFIX)]
    findings = [
        Finding(
            subject=name,
            result="warning",
            text=f"has a password of the files in deploy/, which is public ({SHIPPED_PASSWORD_PREFIX}…): replace it "
            "there and here",
        )
        for name in shipped
    ]
    if settings.sis_api_url.startswith("http://") and any(
        (settings.sis_api_password, settings.api_key, settings.proxy_token)
    ):
        text = "sends the credentials for SISU in clear text: use https://"
        findings.append(Finding(subject="SIS_API_URL", result="warning", text=text))
    return findings
