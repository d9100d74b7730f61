#!/usr/bin/env bash
# Check the charts and package them into bin/charts. From the environment:
#
#   VERSION  what the packages say of themselves: a tag such as v1.2.3 makes 1.2.3, anything else 0.0.0-it. Default: source
#   CREATED  seconds since 1970, the time of all files in a package: the same sources make the same packages. Default: 0
#   OUT      where the packages go; default bin/charts
#   HELM     the program; default bin/helm, which `make bin/helm` builds
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-source} out=${OUT:-bin/charts} helm=${HELM:-bin/helm}

# Helm wants a semantic version. What git says of a commit after a tag is one: v1.2.3-4-gabcdef0.
if [[ $version =~ ^v?((0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)$ ]]; then
	semantic=${BASH_REMATCH[1]}
else
	clean=$(tr -c '0-9A-Za-z-' - <<<"$version" | sed 's/-*$//')
	# A part of digits alone must not begin with 0, which a commit's name may.
	[[ $clean =~ ^[0-9]+$ ]] && clean=g$clean
	semantic=0.0.0-${clean:-source}
fi
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r charts/*/ "$work"
find "$work" -exec touch -d "@${CREATED:-0}" {} +
for chart in "$work"/*/; do
	"$helm" lint --strict --quiet "$chart"
	# The program's version is the images' tag.
	"$helm" package "$chart" --version "$semantic" --app-version "$version" --destination "$out" >/dev/null
	file=$out/$(basename "$chart")-$semantic.tgz
	printf 'charts: %s  %d bytes\n' "$file" "$(stat -c %s "$file")"
done
