# shellcheck shell=bash
# Functions for nodes of Debian's RabbitMQ. Scripts source this file after lib.sh.

# sbin: prints the folder of RabbitMQ's own scripts, and installs RabbitMQ first where it is
# missing. Debian's scripts in /usr/sbin are not used, because they change to the user
# rabbitmq.
sbin() {
  local found
  found=$(compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin' | tail -n 1) || true
  if [[ -z $found ]]; then
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then
      fail "RabbitMQ is missing. Install it (Debian: sudo apt-get install rabbitmq-server), start" \
        "Docker, or name one in MASKLINE_TEST_RABBITMQ and MASKLINE_TEST_RABBITMQ_HTTP"
    fi
    say "RabbitMQ: installs Debian's rabbitmq-server"
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install --yes --no-install-recommends rabbitmq-server; }
    { install || { apt-get update && install; }; } >>"$dir/log" 2>&1 </dev/null ||
      fail "RabbitMQ: apt-get could not install rabbitmq-server, see $dir/log"
    found=$(compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin' | tail -n 1)
  fi
  echo "$found"
}

# name_server PORT: starts epmd, Erlang's name server, through which the nodes of a machine
# find each other.
name_server() {
  export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$1
  spawn epmd
  listening epmd "$1"
}

# node DIR AMQP HTTP DIST: sets the environment of a node with its files in DIR and its ports
# on loopback. It shares nothing with another RabbitMQ on the machine. The caller may add to
# its configuration, DIR/rabbitmq.conf.
node() {
  local dir=$1 amqp=$2 http=$3 dist=$4
  mkdir -p "$dir"
  echo '[rabbitmq_management].' >"$dir/enabled_plugins"
  cat >"$dir/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp
management.tcp.ip = 127.0.0.1
management.tcp.port = $http
disk_free_limit.absolute = 100MB
log.file.level = warning
CONF
  export LC_ALL=C.UTF-8
  export RABBITMQ_NODENAME=maskline-$amqp@localhost
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$amqp RABBITMQ_DIST_PORT=$dist
  export RABBITMQ_BASE=$dir RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log.d
  export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf
  export RABBITMQ_ADVANCED_CONFIG_FILE=$dir/none.config RABBITMQ_GENERATED_CONFIG_DIR=$dir/generated
  export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins RABBITMQ_FEATURE_FLAGS_FILE=$dir/feature_flags
  export RABBITMQ_PID_FILE=$dir/pid
  # Idle schedulers that spin would take the processor cores from the tests.
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
}

# own_process_first DIR/pid: sorts DIR/pids so that the node's own process is stopped first,
# and the name server last.
own_process_first() {
  { echo "$(<"$1")" && tac "$dir/pids"; } >"$dir/pids.ordered"
  mv "$dir/pids.ordered" "$dir/pids"
}
