#!/usr/bin/env bash
# install_prefix.sh CMAKE BUILD SOURCE: an installed prefix works after it has been moved, from any
# directory and without a variable of the environment.
set -euo pipefail
cmake=$1 build=$2 source=$3

if [ ! -x "$build/bin/runtime" ]; then
  echo "skipped: $build/bin/runtime has not been built"
  exit 77
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "install_prefix: $*" >&2; exit 1; }

"$cmake" --install "$build" --prefix "$scratch/first" >"$scratch/log" 2>&1 ||
  { cat "$scratch/log"; fail "cmake --install failed"; }
mkdir "$scratch/elsewhere"
mv "$scratch/first" "$scratch/elsewhere/moved"
prefix=$scratch/elsewhere/moved
runtime() { (cd / && env -i "$prefix/bin/runtime" "$@"); }

version=$(runtime --version) || fail "--version failed"
[ -n "$version" ] || fail "--version printed nothing"
echo "$version"

# The same tokens as the build's own binary, by the prefix's plugins and its graph.
arguments=(generate --weights "$source/tests/fixtures/tinyllama" --prompt-ids 1,2,3 -n 4 --temp 0
           --ignore-eos --json)
answer=$(runtime "${arguments[@]}" --graph tinyllama) || fail "generate failed"
ids() { grep -o '"ids": *\[[^]]*\]' | head -n 1; }
moved=$(ids <<<"$answer") || fail "no ids in $answer"
[ "$(grep -o '[0-9]\+' <<<"$moved" | wc -l)" -eq 4 ] || fail "expected 4 ids, found $moved"
built=$("$build/bin/runtime" "${arguments[@]}" --graph "$source/graphs/tinyllama.yaml" | ids)
[ "$moved" = "$built" ] || fail "the moved prefix drew $moved, the build $built"
echo "$moved"

# Nothing in the prefix points back: no path of the build or of the first prefix.
if grep -rlF -e "$scratch/first" -e "$build/lib" "$prefix/bin" "$prefix/lib/runtime" \
     "$prefix/lib/cmake" 2>/dev/null; then
  fail "the files above name the place they were made in"
fi
for header in abi.h operator.h planner.h device.h plugin.h sdk.hpp; do
  [ -f "$prefix/include/runtime/core/sdk/$header" ] || fail "include/runtime/core/sdk/$header is missing"
done
