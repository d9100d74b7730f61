#!/usr/bin/env bash
# Get what building and testing need: Debian packages that are missing, and the Go modules of every go.mod.
#
#   tools/deps.sh              all; what the test clusters need of Debian only for root, who alone can have clusters
#   tools/deps.sh clusters     only what the test clusters need of Debian
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
# want PACKAGE COMMAND...: the package is missing when the command fails.
want() {
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || packages+=("$package")
}
if [[ ${1:-} == clusters ]] || ((EUID == 0)); then
	want busybox-static command -v busybox
	want ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
	want gcc command -v gcc
	want iproute2 command -v ip
	want libc6-dev test -e /usr/include/stdlib.h
	want mount command -v mount
	want nftables command -v nft
	want pkg-config command -v pkg-config
	want libseccomp-dev pkg-config --exists libseccomp
fi
if [[ ${1:-} != clusters ]]; then
	want git command -v git
	want postgresql compgen -G '/usr/lib/postgresql/*/bin/postgres'
fi
if ((${#packages[@]})); then
	as_root=()
	((EUID == 0)) || as_root=(sudo)
	if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! command -v sudo >/dev/null; }; then
		echo "deps: install these with your package manager: ${packages[*]}" >&2
		exit 1
	fi
	echo "deps: installing ${packages[*]}"
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
else
	echo "deps: what is needed of Debian is there"
fi
[[ ${1:-} != clusters ]] || exit 0

# Only what is compiled is fetched: go.mod also names modules that no package of Nave reaches.
while read -r mod; do
	echo "deps: modules of $mod"
	go -C "$(dirname "$mod")" list -deps -test ./... >/dev/null
done < <(find . -name go.mod -not -path './.*/*' -not -path '*/testdata/*' -not -path './internal/testcluster/programs/*' | sort)
