#!/bin/sh
# Run by the image of InfluxDB when its first start has made organization and bucket: one token for the service, which
# makes the buckets of its tiers, writes them and reads them, and one for Grafana, which reads. Neither is the operator's.
# Run it again when the tokens are lost: docker compose exec influxdb /docker-entrypoint-initdb.d/tokens.sh
set -eu
umask 077

# token NAME PERMISSION…: makes a token and leaves it in /run/tokens/NAME/token, readable to DCIM_UID alone.
token() {
    name=$1
    shift
    folder="${DCIM_TOKENS:-/run/tokens}/$name"
    influx auth create --json --org "$DOCKER_INFLUXDB_INIT_ORG" --user "$DOCKER_INFLUXDB_INIT_USERNAME" \
        --description "$name, made at the first start" "$@" >"$folder/answer"
    sed -n 's/.*"token":[[:space:]]*"\([^"]*\)".*/\1/p' "$folder/answer" >"$folder/new"
    rm "$folder/answer"
    test -s "$folder/new" || {
        echo "no token for $name in the answer of influx" >&2
        exit 1
    }
    chmod 400 "$folder/new"
    chown "$DCIM_UID:$DCIM_GID" "$folder" "$folder/new"
    mv "$folder/new" "$folder/token"
}

token dcim --read-orgs --read-buckets --write-buckets
token grafana --read-buckets
