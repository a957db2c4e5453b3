# bin/lib.sh - what bin/test, bin/demo and bench/run share: packages, building, private clusters.
# Sourced by bash with `set -euo pipefail`.

# The one list of Debian packages that building, testing and the demo need.
PACKAGES=(
	gcc make libc6-dev
	postgresql-15 postgresql-server-dev-15
	libsnappy-dev libzstd-dev libicu-dev libjansson-dev
	libleveldb-dev g++      # interoperability tests
	perl libipc-run-perl    # TAP tests, the demo's parser
	sqlsmith                # t/051_sqlsmith.pl
	clang libclang-rt-14-dev # fuzzing
	clang-format            # layout check
	zstd
)

PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
PG_CONFIG=$PG_BIN/pg_config
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Clusters that the TAP tests make take their encoding from here, not from whoever runs this.
unset LC_ALL LC_CTYPE LC_COLLATE
export LANG=C.UTF-8
# Nor does what the caller's programs connect to (PGHOST, PGPORT, PGOPTIONS, ...) matter here.
for variable in ${!PG@}; do
	case $variable in
	PG_BIN | PG_CONFIG) ;;
	*) unset "$variable" ;;
	esac
done

# What is written here and installed must be readable for the server's user.
umask 022

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command with root's rights.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root's rights and there is no sudo: $*"
	fi
}

# Runs a command as the user who owns the private clusters: PostgreSQL refuses to run as root.  It runs in $WORK,
# because a clone below /root is closed to that user.
as_server() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$SERVER_USER" -- env -C "$WORK" HOME="$WORK" PATH="$PG_BIN:$PATH" "$@"
	else
		env -C "$WORK" PATH="$PG_BIN:$PATH" "$@"
	fi
}

install_packages() {
	local missing=() p
	for p in "${PACKAGES[@]}"; do
		[ -n "$p" ] || continue
		dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return 0
	say "installing: ${missing[*]}"
	# No default cluster on this machine: ours are private.
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		as_root mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	# UCF_FORCE_CONFFOLD: keep the file just written without asking.
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
	as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
		apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
}

build() {
	make -s -C "$TOP" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" "$@" >&2
}

install_build() {
	local as=as_root
	[ ! -w "$("$PG_CONFIG" --pkglibdir)" ] || as=
	$as make -s -C "$TOP" PG_CONFIG="$PG_CONFIG" install >&2
}

# A temporary directory that the server's user may write, removed at exit together with what runs in it.
make_work_dir() {
	SERVER_USER=postgres
	local base=${TMPDIR:-/tmp}
	# A socket's path has at most 107 bytes, and the server's user must get there.
	if [ ${#base} -gt 60 ] || { [ "$(id -u)" = 0 ] && ! runuser -u "$SERVER_USER" -- test -x "$base"; }; then base=/tmp; fi
	WORK=$(mktemp -d "$base/docstore.XXXXXX")
	chmod 755 "$WORK"
	if [ "$(id -u)" = 0 ]; then chown "$SERVER_USER" "$WORK"; fi
	trap clean_up EXIT
	trap 'exit 130' INT TERM
}

clean_up() {
	local status=$?
	if [ -n "${WORK:-}" ] && [ -z "${KEEP:-}" ]; then
		stop_cluster || true
		rm -rf "$WORK"
	fi
	exit $status
}

# make_cluster [setting ...]: initdb and start in $WORK/data, socket in $WORK.
make_cluster() {
	as_server initdb -D "$WORK/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 --no-instructions >"$WORK/initdb.log" 2>&1 ||
		{ cat "$WORK/initdb.log" >&2; die "initdb failed"; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$WORK'"
		echo "shared_preload_libraries = 'docstore'"
		printf '%s\n' "$@"
	} | as_server tee -a "$WORK/data/postgresql.conf" >/dev/null
	start_cluster
	export PGHOST=$WORK PGUSER=postgres PGDATABASE=postgres
}

start_cluster() {
	as_server pg_ctl -D "$WORK/data" -l "$WORK/server.log" -w -s start ||
		{ tail -40 "$WORK/server.log" >&2; die "the server did not start"; }
}

stop_cluster() {
	[ ! -e "$WORK/data/postmaster.pid" ] || as_server pg_ctl -D "$WORK/data" -w -s -m "${1:-fast}" stop
}
