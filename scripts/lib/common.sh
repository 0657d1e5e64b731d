# shellcheck shell=bash disable=SC2034  # what is unused here is used by those who source it
# What the scripts beside this folder share; to be sourced by bash.
#
#   $root    the workspace
#   $cache   what may be thrown away at any time, and is made again when missing
#   say, die progress and failure, on standard error: standard output is data
#
# Sourcing it puts the tools that scripts/setup installed on PATH.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/peercam

# Exact versions, a folder each: changing one here installs it anew.
cross_tool=$cache/tools/cross-0.2.5
deny_tool=$cache/tools/cargo-deny-0.20.2
PATH=$cross_tool/bin:$deny_tool/bin:$PATH

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' red='' plain=''
fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }
die() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

# Runs a command as root, for which a person may be asked for a password.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "'$1' has to run as root, and there is no sudo: run this script as root"
    fi
}

# podman's own settings do not work everywhere; scripts/build-container writes this file
# where they don't.
containers_conf=$cache/containers.conf
use_containers_conf() {
    if [[ -z ${CONTAINERS_CONF:-} && -e $containers_conf ]]; then
        export CONTAINERS_CONF=$containers_conf
    fi
}
use_containers_conf

# Prints the container engine: the one asked for, else docker if its daemon answers
# this user, else podman. Prints nothing and fails when there is none.
container_engine() {
    if [[ -n ${CROSS_CONTAINER_ENGINE:-} ]]; then
        printf '%s\n' "$CROSS_CONTAINER_ENGINE"
    elif docker info >/dev/null 2>&1; then
        printf 'docker\n'
    else
        command -v podman >/dev/null && printf 'podman\n'
    fi
}
