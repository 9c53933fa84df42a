#!/bin/sh
# In a kernel tree: which commit made the live update slower?
#
#   git bisect start BAD GOOD
#   git bisect run /path/to/kernel-bisect.sh GOOD-SET
#
# GOOD-SET holds runs of the good commit, recorded once before, in the same way:
#
#   git checkout GOOD && /path/to/kernel-bisect.sh --record GOOD-SET
#
# LUO_TRACE names a checkout of luo-trace (default: the one this script is in).
# The tree must be clean, as it is built elsewhere. Each step leaves its runs and
# logs in a directory of its own below ${BISECT_DIR:-/var/tmp/luo-trace-bisect}.
#
# Ends as `git bisect run` reads it: 0 good, 1 bad, 125 skip, 128 abort.
set -u

abort() {
	echo "kernel-bisect: $1" >&2
	exit 128
}

record=
[ "${1:-}" != --record ] || { record=yes; shift; }
[ $# -eq 1 ] || abort "usage: kernel-bisect.sh [--record] SET"
good=$1
luo_trace=${LUO_TRACE:-$(dirname "$0")/../../..}
runs=${RUNS:-4}
tree=$PWD

binary=$(cd "$luo_trace" && cargo xtask build) || abort "luo-trace does not build"
image=$(cd "$luo_trace" && cargo xtask kernel --source "$tree" --print) || exit 125

if [ -n "$record" ]; then
	exec "$binary" lab run --kernel "$image" --deterministic -n "$runs" --keep-going -o "$good"
fi
exec "$binary" lab bisect --kernel "$image" --good "$good" --deterministic -n "$runs" \
	-o "${BISECT_DIR:-/var/tmp/luo-trace-bisect}"
