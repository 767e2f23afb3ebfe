#!/bin/sh
# Runs a command with WALLET_TEST_CHROMIUM, a browser that is installed if necessary:
#   with_chromium.sh go test ./internal/test/webui
# If none is available, it says so and does nothing; in CI that is a failure.
set -eu

find_chromium() {
	for name in "${WALLET_TEST_CHROMIUM:-}" chromium chromium-browser google-chrome; do
		if [ -n "$name" ] && command -v "$name"; then return; fi
	done
	return 1
}

if ! browser=$(find_chromium); then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing Chromium ..." >&2
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium; } >&2 || true
	fi
	if ! browser=$(find_chromium); then
		echo "skipped: no Chromium here, and it could not be installed (Debian: apt-get install chromium), or name one by WALLET_TEST_CHROMIUM" >&2
		[ -z "${CI:-}" ] || exit 1
		exit 0
	fi
fi
WALLET_TEST_CHROMIUM=$browser exec "$@"
