# bench/lib.sh - what the benchmarks share: statements, pairs of measurements, rows of a table.
# Sourced after bin/lib.sh, by scripts that set RUNS and SECONDS_EACH and make a cluster in $WORK.

sql() { as_server psql -X -q -At -v ON_ERROR_STOP=1 -h "$WORK" -U postgres -d postgres "$@"; }
setting() { sql -c "SHOW $1"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
elapsed() { # seconds that a statement takes
	local start end
	start=$(date +%s%N)
	sql "$@" >/dev/null
	end=$(date +%s%N)
	awk -v a="$start" -v b="$end" 'BEGIN { printf "%.4f\n", (b - a) / 1e9 }'
}
tps() { # script clients
	as_server pgbench -n -M prepared -f "$1" -c "$2" -j "$(($2 > 2 ? 2 : $2))" -T "$SECONDS_EACH" -D n="$COUNT" -h "$WORK" -U postgres postgres >"$WORK/pgbench.log" 2>&1 || true
	sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$WORK/pgbench.log" | grep . || { cat "$WORK/pgbench.log" >&2; tail -20 "$WORK/server.log" >&2; die "pgbench failed"; }
}
row() { # what, unit (s, /s, MB), target; the pairs are in $WORK/docs and $WORK/heap
	local invert=0
	[ "$2" != s ] || invert=1
	paste "$WORK/docs" "$WORK/heap" | awk -v i="$invert" '{ print i ? $2 / $1 : $1 / $2 }' | sort -n >"$WORK/ratios"
	printf '| %s | %s | %s | %s | %s | %s |\n' "$1, $2" "$(figure <"$WORK/docs")" "$(figure <"$WORK/heap")" \
		"**$(median <"$WORK/ratios" | awk '{ printf "%.2f", $1 }')**" "$(awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%.2f to %.2f", a, b }' "$WORK/ratios")" "$3" |
		tee -a "$WORK/table"
}
figure() { median | awk '{ printf $1 < 1 ? "%.3f" : $1 < 100 ? "%.2f" : "%.0f", $1 }'; }
# Both measured in turns, into $WORK/docs and $WORK/heap.  Who sets LIMIT measures everything at least once, and again only
# as long as the whole has not taken that many seconds.
both() { # function with arguments; TABLE is set to docs or heap
	local i order=(docs heap)
	: >"$WORK/docs" && : >"$WORK/heap"
	for ((i = 0; i < RUNS; i++)); do
		[ "$i" = 0 ] || [ -z "${LIMIT:-}" ] || [ "$SECONDS" -lt "$LIMIT" ] || break
		for TABLE in "${order[@]}"; do "$@" >>"$WORK/$TABLE"; done
		order=("${order[1]}" "${order[0]}") # neither always goes first
	done
}
