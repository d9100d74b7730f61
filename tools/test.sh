#!/usr/bin/env bash
# Everything that one machine can check: format, vet, and the tests of every module. Goes on after a failure, so that one
# run tells all; the last line counts the tests. TESTFLAGS are given to go test.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra flags <<<"${TESTFLAGS:-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# Programs that are asked more than once are built once; go run hides their exit codes.
go build -buildvcs=false -o "$work/parts" ./internal/realpart/cmd/parts
go -C tools build -buildvcs=false -o "$work/testall" ./testall
# The programs of the test clusters are others' code, which takes minutes to compile: `make kind-tests` builds them.
mapfile -t modules < <(find . -name go.mod -not -path './.*/*' -not -path '*/testdata/*' -not -path './internal/testcluster/programs/*' -printf '%h\n' | sort)

"$work/parts"

unformatted=$("$(go env GOROOT)/bin/gofmt" -l .)
if [[ -n $unformatted ]]; then
	printf 'test: not formatted, run gofmt -w on\n%s\n' "$unformatted"
	bad=1
fi
for module in "${modules[@]}"; do
	echo "test: go vet in $module"
	go -C "$module" vet ./... || bad=1
done
echo "test: go vet of the tests on clusters, which run by make kind-tests"
go vet -tags kindtests ./kind-tests || bad=1

export NAVE_NOT_RUN=$work/not-run
"$work/testall" -line "$work/line" "${modules[@]}" -- "${flags[@]}" || bad=1
"$work/parts" -not-run "$NAVE_NOT_RUN" || bad=1
if ((bad)); then
	echo "test: not good, see above"
fi
cat "$work/line"
exit "$bad"
