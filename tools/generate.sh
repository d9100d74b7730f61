#!/usr/bin/env bash
# Generate code from the proto sources into the folder $1 (default: in place). Needs Go alone: the tools come from
# tools/go.mod and are kept in the build cache.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.}
buf() { go tool -modfile=tools/go.mod buf "$@"; }

if [[ -z $(find . -name '*.proto' -not -path './.*' -print -quit) ]]; then
	echo "generate: no proto sources"
	exit 0
fi
buf generate --template buf.gen.yaml -o "$out"
if compgen -G 'api/navev1/*.proto' >/dev/null; then
	buf generate --template buf.gen.connect.yaml --path api/navev1 -o "$out"
fi
