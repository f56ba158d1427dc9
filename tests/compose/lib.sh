# shellcheck shell=bash
# Functions and variables that the scripts of this folder share.
#
#   $state             the folder outside the checkout with the engine and its images
#   compose ARGUMENTS  runs docker compose with the project's files, on the engine that was found
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
state=${MASKLINE_TEST_COMPOSE:-${XDG_CACHE_HOME:-$HOME/.cache}/maskline/compose}
# shellcheck source=tests/servers/lib.sh
source "$here/../servers/lib.sh" "$state"

say() { echo "compose: $*" >&2; }

# stands_in: succeeds if stand-ins run in place of the servers' images. MongoDB's is not a replica set.
stands_in() { [[ -e $state/stands-in ]]; }
# own_engine: succeeds if the engine is the one that engine/start started, which nobody else uses.
own_engine() { [[ -S $state/docker.sock ]]; }

! own_engine || export DOCKER_HOST=unix://$state/docker.sock
[[ ! -d $state/config ]] || export DOCKER_CONFIG=$state/config
# The environment and a file .env may name a user's own servers, which compose.yaml would use.
settings_unset
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES
export COMPOSE_DISABLE_ENV_FILE=true COMPOSE_MENU=false COMPOSE_BAKE=false
export MASKLINE_IMAGES=$state/images

files=(--file "$root/compose.yaml" --file "$here/programs.yaml")
if stands_in; then
  files+=(--file "$here/stand-ins/compose.yaml")
  export MASKLINE_TEST_PARTS=$state/parts MASKLINE_TEST_STAND_INS=$here/stand-ins
  export MASKLINE_CATALOG=mongodb://mongodb:27017/maskline
fi
compose() { docker compose --project-name maskline-tests --project-directory "$root" "${files[@]}" "$@"; }
