#!/usr/bin/env bash
# Runs every fuzz test of every module for a while, one after the other, and says what each one did. Goes on after a finding;
# ends with 1 when there was one, with 130 when it was interrupted. From the environment:
#
#   T     how long each runs; default 30s
#   PKG   folder of one package; default all
#   JOBS  how many inputs at a time; default as many as there are processors
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
T=${T:-30s} PKG=${PKG:-} JOBS=${JOBS:-}
root=$PWD
PKG=${PKG#./} PKG=${PKG%/}
work=$(mktemp -d)
child='' interrupted='' ran=0
found=()
trap 'rm -rf "$work"' EXIT
# A test runs in a group of its own, go and what it started, which is interrupted as a whole.
trap 'interrupted=1; [[ -n $child ]] && kill -INT -- "-$child" 2>/dev/null' INT TERM

# inputs FOLDER: the inputs that are kept there.
inputs() { find "$1" -path '*/testdata/fuzz/*' -type f 2>/dev/null | sort; }

# one MODULE PACKAGE TEST: runs it in the background, so that this shell hears of an interruption.
one() {
	local folder=$2 before after log=$work/log code execs new fresh
	before=$(inputs "$folder")
	set -m
	go -C "$1" test -run '^$' -fuzz "^$3\$" -fuzztime "$T" -fuzzminimizetime 5s ${JOBS:+-parallel "$JOBS"} "./$(realpath --relative-to "$1" "$folder")" >"$log" 2>&1 </dev/null &
	child=$!
	set +m
	while :; do
		wait "$child"
		code=$?
		kill -0 "$child" 2>/dev/null || break
	done
	child=''
	after=$(inputs "$folder")
	fresh=$(comm -13 <(printf '%s\n' "$before") <(printf '%s\n' "$after") | sed '/^$/d')
	execs=$(grep -o 'execs: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)
	new=$(grep -o 'new interesting: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f3)
	((ran++))
	if [[ -n $fresh || $code -ne 0 && -z $interrupted ]]; then
		printf 'fuzz: %-40s %10s execs %6s new  FOUND\n' "$folder.$3" "${execs:-0}" "${new:-0}"
		found+=("${fresh:-$folder.$3, which left no input}")
		sed 's/^/    /' "$log" | grep -v 'fuzz: elapsed' | head -n 40
	else
		printf 'fuzz: %-40s %10s execs %6s new\n' "$folder.$3" "${execs:-0}" "${new:-0}"
	fi
}

while IFS= read -r module; do
	[[ -n $interrupted ]] && break
	# Packages that have fuzz tests at all; a list of the others would be compiled in vain.
	while IFS= read -r folder; do
		[[ -n $interrupted ]] && break
		[[ -z $PKG || $folder == "$PKG" ]] || continue
		if ! go -C "$module" test -list '^Fuzz' "./$(realpath --relative-to "$module" "$folder")" >"$work/list" 2>&1; then
			cat "$work/list"
			found+=("$folder, which does not build")
			continue
		fi
		while IFS= read -r name; do
			[[ -n $interrupted ]] && break
			one "$module" "$folder" "$name"
		done < <(grep '^Fuzz' "$work/list")
	done < <(cd "$module" && grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n 1 dirname | sort -u |
		while IFS= read -r d; do
			at=$(realpath --relative-to "$root" "$d")
			# A folder of a module below this one is that module's.
			near=$d
			while [[ $near != . && ! -e $near/go.mod ]]; do near=$(dirname "$near"); done
			[[ $near == . ]] && echo "$at"
		done)
done < <(find . -name go.mod -not -path './.*/*' -not -path '*/testdata/*' -printf '%h\n' | sort)

if [[ ${#found[@]} -gt 0 ]]; then
	printf 'fuzz: found:\n'
	printf '  %s\n' "${found[@]}"
	echo 'fuzz: docs/fuzzing.md says what to do with an input'
fi
if [[ -n $interrupted ]]; then
	echo "fuzz: interrupted after $ran tests"
	exit 130
fi
if [[ $ran -eq 0 ]]; then
	echo "fuzz: there is no fuzz test${PKG:+ in $PKG}"
	exit 1
fi
echo "fuzz: $ran tests, $T each"
[[ ${#found[@]} -eq 0 ]]
