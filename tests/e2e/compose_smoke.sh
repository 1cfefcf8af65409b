#!/bin/sh
# After `docker compose --profile demo up --wait`: readings of the simulated hall are in InfluxDB, Grafana may read them,
# and the service has stored what it received. Exits with 1 and says which of the three is not so.
set -eu
cd "$(dirname "$0")/../.."

# eventually WHAT COMMAND…: tries for two minutes.
eventually() {
    what=$1
    shift
    for _ in $(seq 60); do
        if "$@"; then return; fi
        sleep 2
    done
    echo "not so within two minutes: $what" >&2
    exit 1
}

in_influxdb() {
    docker compose exec -T influxdb influx query --raw \
        'from(bucket: "telemetry") |> range(start: -10m) |> group() |> keep(columns: ["_measurement"])
            |> distinct(column: "_measurement")' | grep -q ',rack'
}

grafana_reads() {
    printf 'user = "admin:%s"\n' "$(cat secrets/grafana_admin_password)" |
        curl -fsS -K - -G http://127.0.0.1:3000/api/datasources/proxy/uid/dcim-readings/query \
            --data-urlencode 'db=telemetry' --data-urlencode 'q=SELECT last("power_kw") FROM "rack"' | grep -q '"values"'
}

boards_are_there() {
    printf 'user = "admin:%s"\n' "$(cat secrets/grafana_admin_password)" |
        curl -fsS -K - http://127.0.0.1:3000/api/dashboards/uid/dcim-site | grep -q 'Site overview'
}

service_stores() {
    curl -fsS http://127.0.0.1:8080/api/v1/ledger | grep -q '"stored":[1-9]'
}

eventually "the service has stored values" service_stores
eventually "InfluxDB has the racks' readings" in_influxdb
eventually "Grafana may read them" grafana_reads
eventually "Grafana has the boards" boards_are_there
echo "readings arrive, are stored, and can be shown"
