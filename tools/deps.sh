#!/usr/bin/env bash
# Get what building and testing need: Debian packages that are missing, and the Go modules of every go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v git >/dev/null || packages+=(git)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
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
	echo "deps: git and postgresql are there"
fi

# Only what is compiled is fetched: go.mod also names modules that no package of Nave reaches.
while read -r mod; do
	echo "deps: modules of $mod"
	go -C "$(dirname "$mod")" list -deps -test ./... >/dev/null
done < <(find . -name go.mod -not -path './.*/*' -not -path '*/testdata/*' -not -path './internal/testcluster/programs/*' | sort)
