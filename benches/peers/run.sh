#!/usr/bin/env bash
# Runs `traaviis bench server` with Restate and DBOS beside it: the same jobs, on the same machine
# and disk, in turn, loaded by the same client.
#
#   benches/peers/run.sh [--quick] [--rounds COUNT]
#
# Installs what it needs into a folder outside of the repository ($PEERS, or one below the home of
# whoever runs it): from npm the server of Restate, 216 MB, and the SDK of DBOS, 12 MB, and the jobs
# for Restate, in Rust. PostgreSQL, for DBOS, must be there. A peer that cannot run is left out, and
# the reason is told. All data lie below $PEERS_DATA, by default /var/tmp, and are removed.
# $TRAAVIIS names a program that is built already.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="${PEERS:-${HOME:-/tmp}/.cache/traaviis-peers}"
mkdir -p "$work"
data="$(mktemp -d "${PEERS_DATA:-/var/tmp}/traaviis-peers-XXXXXX")"
# The database runs as another user when this is run by root.
chmod 711 "$data"

processes=()
database=()
stop() {
  # Only what was begun here.
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  if ((${#database[@]})); then "${database[@]}" -m immediate stop >/dev/null 2>&1 || true; fi
  wait 2>/dev/null || true
  rm -rf "$data"
}
trap stop EXIT

skip() { echo "skipped: $1, because $2" >&2; }

free_port() {
  node -e 'const s = require("net").createServer();
    s.listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); });'
}

# Waits for a minute, unless the process has ended.
wait_for() {
  local process="$1"
  shift
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    kill -0 "$process" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

install_from_npm() {
  [[ -d "$work/node_modules/${1%@*}" ]] ||
    npm install --silent --no-audit --no-fund --prefix "$work" "$1"
}

peers=()

restate() {
  command -v npm >/dev/null || { skip Restate "npm is not here"; return; }
  install_from_npm @restatedev/restate-server@1.7 ||
    { skip Restate "npm does not install it"; return; }
  local server
  server="$(find -L "$work/node_modules/@restatedev" -path '*/bin/restate-server' -type f |
    head -1)"
  [[ -n "$server" ]] || { skip Restate "npm has no server for this machine"; return; }
  CARGO_TARGET_DIR="$work/target" cargo build --quiet --release \
    --manifest-path "$here/restate/Cargo.toml"
  export RESTATE_DISABLE_TELEMETRY=true DO_NOT_TRACK=1 RUST_LOG=error RESTATE_LOG_FILTER=error
  "$server" --no-logo --listen-mode tcp --bind-ip 127.0.0.1 --node-name peer \
    --base-dir "$data/restate" >"$work/restate.log" 2>&1 &
  local process=$!
  processes+=("$process")
  "$work/target/release/restate-jobs" >"$work/restate-jobs.log" 2>&1 &
  processes+=($!)
  if wait_for "$process" curl -sf http://127.0.0.1:9070/health &&
    wait_for "$process" curl -sf http://127.0.0.1:8080/restate/health &&
    curl -sf -o /dev/null -X POST http://127.0.0.1:9070/deployments \
      -H 'content-type: application/json' -d '{"uri":"http://127.0.0.1:9081"}'; then
    peers+=(--peer Restate=127.0.0.1:8080)
  else
    skip Restate "it does not start: see $work/restate.log"
  fi
}

dbos() {
  command -v npm >/dev/null || { skip DBOS "npm is not here"; return; }
  local programs
  programs="$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null |
    sort -V | tail -1 || true)")"
  [[ -x "$programs/initdb" && -x "$programs/pg_ctl" ]] ||
    { skip DBOS "PostgreSQL is not here (Debian: apt-get install postgresql)"; return; }
  install_from_npm @dbos-inc/dbos-sdk@5 || { skip DBOS "npm does not install its SDK"; return; }
  # It refuses to be run by root, and its package makes a user for it.
  local as=()
  mkdir -m 700 "$data/postgres"
  if [[ $EUID == 0 ]]; then
    id postgres >/dev/null 2>&1 || { skip DBOS "there is no user to run PostgreSQL"; return; }
    chown postgres: "$data/postgres"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups)
  fi
  local port jobs log="$work/postgres.log"
  port="$(free_port)"
  # Settings are those of PostgreSQL, also of durability: fsync and synchronous_commit are on.
  (
    cd "$data/postgres"
    "${as[@]}" "$programs/initdb" -D "$data/postgres/data" -U postgres -A trust -E UTF8
  ) >"$log" 2>&1 || { skip DBOS "PostgreSQL makes no data: see $log"; return; }
  database=("${as[@]}" "$programs/pg_ctl" -D "$data/postgres/data" -s -w)
  (
    cd "$data/postgres"
    "${database[@]}" -l "$data/postgres/log" \
      -o "-p $port -k $data/postgres -c listen_addresses=127.0.0.1" start
  ) >>"$log" 2>&1 || { skip DBOS "PostgreSQL does not start: see $log"; return; }
  jobs="$(free_port)"
  rm -f "$work/dbos.log"
  # The module looks for the SDK beside itself.
  cp "$here/dbos/jobs.mjs" "$work/dbos-jobs.mjs"
  node "$work/dbos-jobs.mjs" "postgresql://postgres@127.0.0.1:$port/jobs" "$jobs" "$connections" \
    >"$work/dbos.log" 2>&1 &
  local process=$!
  processes+=("$process")
  if wait_for "$process" grep -q listening "$work/dbos.log"; then
    peers+=(--peer "DBOS=127.0.0.1:$jobs")
  else
    skip DBOS "its jobs do not start: see $work/dbos.log"
  fi
}

# As many as the plans of the benchmark open.
connections=256
for argument in "$@"; do
  if [[ "$argument" == --quick ]]; then connections=64; fi
done

traaviis="${TRAAVIIS:-}"
if [[ -z "$traaviis" ]]; then
  cargo build --release --workspace --bins --manifest-path "$here/../../Cargo.toml"
  traaviis="${CARGO_TARGET_DIR:-$here/../../target}/release/traaviis"
fi
restate
dbos
if ((${#peers[@]} == 0)); then
  echo "nothing was measured: no peer can run here" >&2
  exit 0
fi
"$traaviis" bench server --dir "$data/ours" "${peers[@]}" "$@"
