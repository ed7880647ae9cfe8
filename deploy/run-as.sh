#!/bin/sh
# Run a command with the settings of one process: sh deploy/run-as.sh producer|ack_collector|stan_bridge COMMAND…
#
# One environment can have the users of all: PRODUCER_NATS_URI takes the place of NATS_URI for the producer alone,
# ACK_COLLECTOR_NATS_URI for the collectors, STAN_BRIDGE_NATS_URI for the stan_bridge, and NATS_URI remains for
# `importer`. No process gets the variables of another one, and only the producer the secrets that only it needs. The
# command replaces this shell, so that it receives the signals.
set -eu

case "${1-}" in
producer) own=PRODUCER ;;
ack_collector) own=ACK_COLLECTOR ;;
stan_bridge) own=STAN_BRIDGE ;;
*)
    echo "usage: run-as.sh producer|ack_collector|stan_bridge COMMAND…" >&2
    exit 2
    ;;
esac
shift

for name in NATS_URI NATS_TOKEN NATS_CREDS_PATH NATS_KEY_PATH NATS_CERT_PATH REDIS_URI REDIS_KEY_PATH REDIS_CERT_PATH; do
    eval "value=\${${own}_$name-}"
    [ -z "$value" ] || export "$name=$value"
    unset "PRODUCER_$name" "ACK_COLLECTOR_$name" "STAN_BRIDGE_$name"
done

if [ "$own" != PRODUCER ]; then
    unset SIS_API_USER SIS_API_PASSWORD KEY_PATH CERT_PATH API_KEY PROXY_TOKEN EXPLORER_TOKEN
    unset HTTPS_PROXY HTTP_PROXY https_proxy http_proxy # which may have a password; only requests to SISU use them
fi

if [ "$own" = ACK_COLLECTOR ]; then
    unset STAN_URI STAN_TOKEN
fi

exec "$@"
