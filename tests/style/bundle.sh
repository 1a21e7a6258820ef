#!/usr/bin/env bash
# bundle.sh CMAKE BUILD SOURCE: the two components of the bundle, installed and moved, are less than
# 64 MB packed, ask nothing of this system but C's and C++'s libraries, and run from any folder.
set -euo pipefail
cmake=$1 build=$2 source=$3
most_bytes=64000000

for program in runtime operators_test gpu_test bench_planners bench_device; do
  [ -n "$(find "$build" -name "$program" -type f -perm -u+x -print -quit)" ] ||
    { echo "skipped: $program has not been built"; exit 77; }
done
command -v readelf >/dev/null || { echo "skipped: no readelf"; exit 77; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "bundle: $*" >&2; exit 1; }

for component in Unspecified bundle; do
  "$cmake" --install "$build" --prefix "$scratch/first" --component "$component" --strip \
    >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "cmake --install failed"; }
done
mkdir "$scratch/elsewhere"
mv "$scratch/first" "$scratch/elsewhere/moved"
root=$scratch/elsewhere/moved

bytes=$(tar -cz -C "$root" . | wc -c)
[ "$bytes" -lt "$most_bytes" ] || fail "$bytes bytes packed, expected fewer than $most_bytes"
echo "$bytes bytes packed"

# Whatever a file needs lies in deps, or is of C and C++; a plugin needs nothing of deps, for it is
# no place that a plugin looks in.
system='^(lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)|ld-linux-x86-64)\.so'
tags() { readelf -d "$2" | sed -n "s/.*(\($1\)).*\[\(.*\)\]/\2/p"; }
for file in "$root"/bin/* "$root"/lib/runtime/deps/* "$root"/lib/runtime/plugins/*.so; do
  readelf -h "$file" >/dev/null 2>&1 || continue
  tags NEEDED "$file" | while read -r library; do
    [[ $library =~ $system ]] && continue
    case $file in */plugins/*) fail "$file needs $library" ;; esac
    [ -e "$root/lib/runtime/deps/$library" ] || fail "$file needs $library, which is not in deps"
  done
  paths=$(tags 'RPATH\|RUNPATH' "$file" | tr ':' '\n')
  while read -r path; do
    case $path in '' | '$ORIGIN'*) ;; *) fail "$file looks in $path, expected \$ORIGIN/..." ;; esac
  done <<<"$paths"
  case $file in
    */bin/*) [ -n "$paths" ] || fail "$file has no run path" ;;
  esac
done

# The loader finds deps of the bundle itself, also for the libraries of the libraries.
for program in runtime operators_test gpu_test bench_planners bench_device; do
  strays=$(cd / && env -i /usr/bin/ldd "$root/bin/$program" | grep -E 'spdlog|fmt|yaml|pcre|not found' |
    grep -v "$scratch/elsewhere/moved/" || true)
  [ -z "$strays" ] || fail "$program takes from outside: $strays"
done

runtime() { (cd / && env -i "$root/bin/runtime" "$@"); }
runtime generate --weights "$source/tests/fixtures/tinyllama" --graph tinyllama --prompt-ids 1,2,3 \
  -n 4 --temp 0 --ignore-eos --json >"$scratch/answer" || fail "generate from the moved bundle failed"
grep -q '"ids"' "$scratch/answer" || { cat "$scratch/answer"; fail "generate from the moved bundle gives no ids"; }
(cd / && env -i "$root/bin/gpu_test" --gtest_list_tests >"$scratch/tests") || fail "gpu_test does not start"

# gpu_check finds its parts in the moved bundle, and reports what it had no time for.
if [ -e "$build/tests/cuda_plugins/cuda.rtp.so" ] && command -v python3 >/dev/null; then
  (cd / && python3 "$root/gpu_check" --emulated "$build/tests/cuda_plugins" --budget 2 \
    --out "$scratch/report") >"$scratch/check" 2>&1 || true
  grep -q '"aims"' "$scratch/report/gpu_check.json" || { cat "$scratch/check"; fail "gpu_check gives no report"; }
fi
