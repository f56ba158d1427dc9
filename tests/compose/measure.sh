# shellcheck shell=bash
# Functions with which the checks and the bench run a job and read the replicas, the queues and
# the counts.
# shellcheck source=tests/compose/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
built=${CARGO_TARGET_DIR:-$root/target}/release
services=(scraper validator labeler storer trainer)

# found WHAT VALUE WANTED: prints a line of the table.
found() { printf '%s\t%s\t%s\n' "$@"; }
# wanted WHAT VALUE WANTED COMMAND…: prints a line of the table. The check fails unless the command
# succeeds.
wanted() {
  local line=("$1" "$2" "$3")
  shift 3
  if "$@"; then found "${line[@]}"; else found "${line[0]}" "${line[1]}  WRONG" "${line[2]}" && wrong=1; fi
}
wrong=0
end() { exit "$wrong"; }

# drawn NAME FACES PIXELS SEED: draws a folder of images, and prints the counts that a job of it
# must end with.
drawn() {
  [[ -x $built/draw ]] || fail "$built/draw is missing: cargo build --release --package maskline-tests --bin draw"
  mkdir -p "$MASKLINE_IMAGES"
  "$built/draw" "$MASKLINE_IMAGES/$1" "$2" "$3" "$4"
}

# maskline ARGUMENTS…: runs the command inside the network.
maskline() { compose run --rm --no-deps --quiet-pull maskline "$@" 2>>"$dir/log"; }
# enqueued NAME [ARGUMENT…]: enqueues a drawn folder. Prints the job, which has ended with
# --wait.
enqueued() {
  local name=$1
  shift
  maskline enqueue folder "/images/$name" --label-from folder --json "$@"
}

# scaled SERVICE N [FILE…]: starts or stops replicas until there are N healthy ones. The FILEs are
# further Compose files.
scaled() {
  local service=$1 replicas=$2 file overrides=()
  shift 2
  for file; do overrides+=(--file "$file"); done
  compose "${overrides[@]}" up --detach --wait --no-deps --scale "$service=$replicas" "$service" 2>>"$dir/log"
}

# replicas SERVICE: prints the address of each replica in the network.
replicas() {
  local id
  for id in $(compose ps --quiet "$1"); do
    docker inspect --format '{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$id"
  done | sort | sed 's/.* //'
}
# handled SERVICE: prints how many messages each replica has handled, from its /metrics.
handled() {
  local address
  for address in $(replicas "$1"); do
    curl --silent --fail "http://$address:8080/metrics" |
      awk '/^maskline_messages_handled_total/ { sum += $2 } END { print sum + 0 }'
  done
}
total() { awk '{ sum += $1 } END { print sum + 0 }'; }

# queue NAME FIELD: prints a field of what RabbitMQ's management API says about a queue, such as
# .messages.
queue() {
  curl --silent --fail --user maskline:maskline "http://127.0.0.1:15672/api/queues/%2f/$1" | jq "$2 // 0"
}
