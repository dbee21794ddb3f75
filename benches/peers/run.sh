#!/usr/bin/env bash
# Runs `traaviis bench server` with Restate beside it: the same jobs, on the same machine, in turn.
#
#   benches/peers/run.sh [--quick]
#
# Installs what it needs into a folder outside of the repository ($PEERS, or one below the home of
# whoever runs it): the server of Restate from npm, 216 MB, and the jobs for it, in Rust. Both keep
# their defaults: Restate syncs its log before it answers, as we do.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="${PEERS:-${HOME:-/tmp}/.cache/traaviis-peers}"
mkdir -p "$work"

if [[ ! -d "$work/node_modules/@restatedev/restate-server" ]]; then
  npm install --silent --no-audit --no-fund --prefix "$work" @restatedev/restate-server@1.7
fi
server="$(find -L "$work/node_modules/@restatedev" -path '*/bin/restate-server' -type f | head -1)"
CARGO_TARGET_DIR="$work/target" cargo build --quiet --release --manifest-path "$here/restate/Cargo.toml"
cargo build --release --workspace --bins --manifest-path "$here/../../Cargo.toml"
traaviis="${CARGO_TARGET_DIR:-$here/../../target}/release/traaviis"

data="$(mktemp -d "$work/data-XXXXXX")"
stop() {
  # Only what was begun here.
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$data"
}
processes=()
trap stop EXIT

export RESTATE_DISABLE_TELEMETRY=true DO_NOT_TRACK=1 RUST_LOG=error RESTATE_LOG_FILTER=error
"$server" --no-logo --listen-mode tcp --bind-ip 127.0.0.1 --node-name peer --base-dir "$data" \
  >"$data.log" 2>&1 & processes+=($!)
"$work/target/release/restate-jobs" >"$data.jobs.log" 2>&1 & processes+=($!)
for _ in $(seq 600); do
  if curl -sf -o /dev/null http://127.0.0.1:9070/health &&
    curl -sf -o /dev/null http://127.0.0.1:8080/restate/health; then break; fi
  sleep 0.1
done
curl -sf -o /dev/null -X POST http://127.0.0.1:9070/deployments \
  -H 'content-type: application/json' -d '{"uri":"http://127.0.0.1:9081"}'

"$traaviis" bench server --restate 127.0.0.1:8080 "$@"
