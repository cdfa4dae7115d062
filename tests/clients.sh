#!/usr/bin/env bash
# Real clients against a running demo: grpcurl, grpc-health-probe and Python's grpcio.
set -euo pipefail
cd "$(dirname "$0")/.."

CACHE="${PULSETAIL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pulsetail}"
ADDRESS=127.0.0.1:18400
ADMIN=127.0.0.1:18401
WORK=$(mktemp -d)
# Stops by itself, should this script be killed.
target/debug/pulsetail demo --for 3m --listen "$ADDRESS" --admin-listen "$ADMIN" >"$WORK/demo" 2>"$WORK/log" &
DEMO=$!
trap 'kill "$DEMO" 2>/dev/null; wait "$DEMO" 2>/dev/null; rm -rf "$WORK"' EXIT

fail() {
    echo "clients: $1" >&2
    cat "$WORK/log" >&2
    exit 1
}

# expect WHAT PATTERN COMMAND...: the command succeeds and prints the pattern.
expect() {
    local what=$1 pattern=$2
    shift 2
    "$@" >"$WORK/out" 2>&1 || fail "$what failed: $(cat "$WORK/out")"
    grep -q -- "$pattern" "$WORK/out" || fail "$what: no $pattern in: $(cat "$WORK/out")"
    echo "clients: $what"
}

# refuse WHAT PATTERN COMMAND...: the command fails and says the pattern.
refuse() {
    local what=$1 pattern=$2
    shift 2
    if "$@" >"$WORK/out" 2>&1; then fail "$what was accepted"; fi
    grep -q -- "$pattern" "$WORK/out" || fail "$what: no $pattern in: $(cat "$WORK/out")"
    echo "clients: $what"
}

# The stream of a request for 5 s at most, with its end cut off.
follow() {
    grpcurl -plaintext -max-time 5 -d "$1" "$ADDRESS" pulsetail.v1.LogService/StreamLogs || true
}

PATH="$CACHE/bin:$PATH"
for tool in grpcurl grpc-health-probe; do
    if [ ! -x "$CACHE/bin/$tool" ]; then
        echo "clients: LEFT OUT: no $tool; run tests/setup.sh" >&2
        [ "${PULSETAIL_REQUIRE_ENGINE:-}" != 1 ]
        exit
    fi
done
for _ in $(seq 100); do
    if grpc-health-probe -addr "$ADDRESS" >/dev/null 2>&1; then break; fi
    sleep 0.1
done
# The demo's containers start one after the other.
for _ in $(seq 100); do
    if grep -q 'cron |' "$WORK/demo"; then break; fi
    sleep 0.1
done

expect "grpc-health-probe: ready" "status: SERVING" grpc-health-probe -addr "$ADDRESS"
expect "grpc-health-probe: LogService" "status: SERVING" grpc-health-probe -addr "$ADDRESS" -service pulsetail.v1.LogService
refuse "grpc-health-probe: unknown service" "unknown service" grpc-health-probe -addr "$ADDRESS" -service nobody
expect "grpcurl: reflection" "pulsetail.v1.LogService" grpcurl -plaintext "$ADDRESS" list
expect "grpcurl: list" '"name": "web"' grpcurl -plaintext "$ADDRESS" pulsetail.v1.ContainerService/ListContainers
expect "grpcurl: words, not base64" '"text": "{\\"level\\":\\"info\\"' follow '{"selector":{"names":["web"]},"follow":true}'
expect "grpcurl: history ends by itself" '"reason": "CLOSING_REASON_COMPLETED"' \
    grpcurl -plaintext -d '{"selector":{"names":["web"]},"tail_lines":3}' "$ADDRESS" pulsetail.v1.LogService/StreamLogs
refuse "grpcurl: unknown container" "CONTAINER_NOT_FOUND" \
    grpcurl -plaintext -d '{"selector":{"names":["nobody"]}}' "$ADDRESS" pulsetail.v1.LogService/StreamLogs
expect "readyz" ok curl -sf "http://$ADMIN/readyz"

if [ -x "$CACHE/python/bin/python" ]; then
    "$CACHE/python/bin/python" -m grpc_tools.protoc -Iproto --python_out="$WORK" --grpc_python_out="$WORK" proto/pulsetail/v1/*.proto
    expect "python: stream and resume" "resumed at" "$CACHE/python/bin/python" tests/clients.py "$ADDRESS" "$WORK"
else
    echo "clients: LEFT OUT: no Python; run tests/setup.sh" >&2
    [ "${PULSETAIL_REQUIRE_ENGINE:-}" != 1 ]
fi
