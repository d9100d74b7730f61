#!/usr/bin/env bash
# Get the agents that tests run and that nobody here wrote: what the lockfiles in examples/agents pin, byte by byte. Each is
# kept in a folder that is named for its lockfile, so that it is fetched once; bin/ gets a link to the program.
#
#   tools/agents.sh            NAVE_AGENTS=FOLDER where they are kept; default: nave/agents in the user's cache folder
set -euo pipefail
cd "$(dirname "$0")/.."
system=/etc/ssl/certs/ca-certificates.crt
if [[ -z ${NODE_EXTRA_CA_CERTS:-} && -r $system ]]; then
	export NODE_EXTRA_CA_CERTS=$system # npm believes the authorities that it brings along, and not those of the system
fi
kept=${NAVE_AGENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/nave/agents}

# agent NAME PROGRAM: NAME is a folder of examples/agents with a lockfile, PROGRAM is what it installs.
agent() {
	local from=examples/agents/$1 program=$2 into
	into=$kept/$1-$(sha256sum <"$from/package-lock.json" | cut -c1-16)
	if [[ ! -x $into/node_modules/$program ]]; then
		npm_there
		echo "agents: fetching $1"
		mkdir -p "$kept"
		making=$(mktemp -d "$into.XXXXXX") # whole or not at all
		trap 'rm -rf "$making"' EXIT
		cp "$from/package.json" "$from/package-lock.json" "$making"
		# No package needs its scripts: the program is a file of a package.
		npm --prefix "$making" ci --ignore-scripts --no-audit --no-fund --no-update-notifier
		[[ -x $making/node_modules/$program ]] || { # a package for another machine is left out
			echo "agents: the packages of $1 have no $program" >&2
			return 1
		}
		chmod 755 "$making"
		mv -T "$making" "$into" 2>/dev/null || [[ -x $into/node_modules/$program ]] # another run may have been faster
	fi
	mkdir -p bin
	ln -sfn "$into/node_modules/$program" "bin/$1"
	echo "agents: bin/$1 is $into/node_modules/$program"
}

npm_there() {
	command -v npm >/dev/null && return
	local as_root=()
	((EUID == 0)) || as_root=(sudo)
	if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! command -v sudo >/dev/null; }; then
		echo "agents: install npm with your package manager" >&2
		exit 1
	fi
	echo "agents: installing nodejs and npm"
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends nodejs npm
}

if [[ $(uname -sm) != "Linux x86_64" ]]; then
	echo "agents: the lockfiles pin programs for Linux on x86-64; this is $(uname -sm)" >&2
	exit 1
fi
agent opencode opencode-linux-x64/bin/opencode
