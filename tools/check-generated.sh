#!/usr/bin/env bash
# Generate into a folder of its own and compare with what is committed, in both directions: code that differs, code that
# is missing, and code whose source is gone.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
tools/generate.sh "$fresh"

generated() { (cd "$1" && find . \( -name '*.pb.go' -o -name '*.connect.go' \) -not -path './.*/*' | sort); }
bad=0
while read -r file; do
	if ! cmp -s "$file" "$fresh/$file"; then
		echo "check-generated: $file differs from its source"
		bad=1
	fi
done < <({ generated . && generated "$fresh"; } | sort -u)
if ((bad)); then
	echo "check-generated: run make generate, and commit what it writes"
	exit 1
fi
echo "check-generated: $(generated . | wc -l) files are what their sources say"
