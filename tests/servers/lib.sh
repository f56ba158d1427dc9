# shellcheck shell=bash
# Functions that the start scripts of the servers share. The argument of each script is a
# folder DIR, to which it writes:
#   env        the addresses, as NAME='value'
#   container  the container to remove, or
#   pids       the processes to stop, in this order
set -euo pipefail
dir=$1
servers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/maskline/servers

say() { echo "servers: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# settings_unset: removes the product's own variables from the environment, because they
# would lead it to other servers than those of the tests.
settings_unset() {
  local name
  for name in $(compgen -e | grep -E '^(MASKLINE|OTEL)_' | grep -vE '^MASKLINE_(TEST|BENCH)_'); do
    unset "$name"
  done
}

# publish NAME=VALUE…: adds addresses to DIR/env.
publish() {
  local pair
  for pair; do printf "%s='%s'\n" "${pair%%=*}" "${pair#*=}"; done >>"$dir/env"
}

# given WHAT NAME…: succeeds if the environment has an address in the first NAME. Then the other
# NAMEs must be set, too, and all of them are published.
given() {
  local what=$1 first=$2 name
  shift
  [[ -n ${!first:-} ]] || return 1
  for name; do
    [[ -n ${!name:-} ]] || fail "$what: $first is set, but $name is not"
    publish "$name=${!name}"
  done
  say "$what: the one at the address in $first"
}

# image NAME: prints the image of that name in compose.yaml. Fails where Docker neither has it
# nor can pull it.
image() {
  docker info >/dev/null 2>&1 || return 1
  local image
  image=$(sed -n "s|^ *image: \($1:.*\)|\1|p" "$servers/../../compose.yaml")
  docker image inspect "$image" >/dev/null 2>&1 ||
    timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || return 1
  echo "$image"
}

# container ARGUMENTS…: starts a container with docker run, and writes its id to
# DIR/container.
container() { docker run --detach --rm "$@" >"$dir/container"; }

# within SECONDS COMMAND…: repeats the command until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

in_container() { docker exec "$(<"$dir/container")" "$@"; }
port_of() { docker port "$(<"$dir/container")" "$1" | sed -n '1s/.*://p'; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_ports N: prints N ports of loopback where nothing listens. They are below the ports
# that the system hands out itself.
free_ports() {
  local port left=$1
  for port in $(shuf -i 20000-31999 -n 200); do
    listens "$port" && continue
    echo "$port"
    ((--left)) || return 0
  done
}

# spawn COMMAND…: runs the command in the background with its output in DIR/log. A Ctrl-C in
# the terminal does not reach it, so that the script that started it can stop it in order.
spawn() {
  setsid "$@" >>"$dir/log" 2>&1 </dev/null &
  echo $! >>"$dir/pids"
}

# listening WHAT PORT: waits until the last spawned process listens on the port.
listening() {
  local pid end=$((SECONDS + 120))
  pid=$(tail -n 1 "$dir/pids")
  until listens "$2"; do
    if ((SECONDS > end)) || ! kill -0 "$pid" 2>/dev/null; then
      tail -n 20 "$dir/log" >&2
      fail "$1 did not start; the end of $dir/log is above"
    fi
    sleep 0.1
  done
}

# once NAME COMMAND…: runs the command once on each machine. The last argument of the command
# is the folder or file that it has to make. Prints the path of the result. Fails if the command
# does, and the next call tries again.
once() {
  local made=$cache/$1
  shift
  mkdir -p "$cache"
  (
    flock 9
    [[ -e $made ]] || {
      rm -rf "$made.part" && "$@" "$made.part" >&2 && mv "$made.part" "$made"
    }
  ) 9>"$made.lock" || return 1
  echo "$made"
}

# version_of FILE…: prints a hash of their content, so that a change is built anew.
version_of() { cat "$@" | sha256sum | cut -c 1-12; }
