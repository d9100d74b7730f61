#!/usr/bin/env bash
# Build the programs into bin/, one line each with its seconds. A program whose folder is not there is left out.
# VERSION is what they say of themselves.
#
# Tests and programs are built with the same settings, so that the build cache serves both: a cold build of OpenZiti and etcd
# takes minutes. The small programs are the exception: without gRPC's traces, which nobody sees, the linker can leave out what
# is not called, a third of the spoke, and that is memory of every spoke and every session.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-source}
ldflags="-s -w -X github.com/nave-dev/nave/internal/version.Version=$version -X main.version=$version"
mkdir -p bin

built=0
# program NAME FOLDER [MODULE [TAGS]]: FOLDER is inside the module that lies in MODULE.
program() {
	local name=$1 folder=$2 module=${3:-.} tags=${4:-} start
	if [[ ! -d $module/$folder ]] || ! compgen -G "$module/$folder/*.go" >/dev/null; then
		return 0
	fi
	printf '  %-28s ' "$name"
	start=$(date +%s%N)
	if ! go -C "$module" build -buildvcs=false -tags "$tags" -ldflags "$ldflags" -o "$PWD/bin/$name" "./$folder"; then
		echo "  $name: not built" >&2
		return 1
	fi
	local ms=$((($(date +%s%N) - start) / 1000000))
	printf '%4d.%d s  %5d KiB\n' $((ms / 1000)) $((ms % 1000 / 100)) $(($(stat -c %s "bin/$name") / 1024))
	built=$((built + 1))
}

echo "build: version $version, into bin/"
program nave-overlay . transport/ziti/overlay
for name in nave-hub terraform-provider-nave; do
	program "$name" "cmd/$name"
done
for name in nave-spoke nave-harness nave; do
	program "$name" "cmd/$name" . grpcnotrace
done
program auditor examples/agents/auditor
program scribe examples/agents/scribe
if ((built == 0)); then
	echo "  no program has a folder yet"
fi
