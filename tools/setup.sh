# Sourced by tools/run and tools/test: installs what is missing, configures, builds.
# Debian 12 package names; Ubuntu 24.04 has the same ones. Everything is said on stderr, so that
# stdout stays the answer's.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${RUNTIME_BUILD_DIR:-$root/build}

packages=(g++ cmake ninja-build pkg-config libboost-dev libyaml-cpp-dev libspdlog-dev libpcre2-dev
          nlohmann-json3-dev libcli11-dev libgtest-dev)
# Where the CUDA plugins are built, the tests read the PTX in them.
command -v nvcc >/dev/null && packages+=(libzstd-dev)

say() { echo "$*" >&2; }

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      echo "$package"
  done
}

install_missing() {
  local missing sudo=()
  if ! command -v dpkg-query >/dev/null; then
    say "tools: this is not Debian or Ubuntu; expecting the equivalents of: ${packages[*]}"
    return 0
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      say "tools: packages are missing and this user may not install them; run:"
      say "  sudo apt-get update && sudo apt-get install -y ${missing[*]}"
      exit 3
    fi
    sudo=(sudo)
  fi
  say "tools: installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq >&2 &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2 ||
    { say "tools: apt-get could not install: ${missing[*]}"; exit 3; }
}

# How far the build is ("[120/560]"), so that one can tell it from a hang.
show_progress() {
  sleep 2 >/dev/null 2>&1
  say "tools: building; the first time takes minutes"
  while sleep 20 >/dev/null 2>&1; do
    say "tools: built $(grep -o '^\[[0-9]*/[0-9]*\]' "$1" | tail -n 1)"
  done
}

# configure_and_build [target ...]: quiet when there is nothing to do, the log on failure.
configure_and_build() {
  local log=$build/build.log
  if ! mkdir -p "$build" 2>/dev/null || ! : 2>/dev/null >"$log"; then
    say "tools: $build cannot be written; RUNTIME_BUILD_DIR=DIR builds elsewhere"
    exit 3
  fi
  if [ ! -f "$build/build.ninja" ]; then
    say "tools: configuring $build"
    cmake -S "$root" -B "$build" -G Ninja >"$log" 2>&1 || { cat "$log" >&2; exit 3; }
    say "tools: $(grep -o 'CUDA plugins: .*' "$log" || echo 'CUDA plugins: not built')"
  fi
  # A dry run cannot say whether there is work: it stops at looking for new files.
  show_progress "$log" &
  local notice=$!
  ninja -C "$build" "$@" >"$log" 2>&1 || { kill "$notice" 2>/dev/null; tail -n 60 "$log" >&2; exit 3; }
  kill "$notice" 2>/dev/null || true
}
