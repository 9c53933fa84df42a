#!/bin/sh
# In a kernel tree: did HEAD make the live update slower than BASE?
#
#   kernel-gate.sh BASE [RUNS]
#
# Prints KTAP and ends as `luo-trace gate` does: 0 pass, 1 regression,
# 2 bad input, 3 inconclusive.
set -eu

base=${1:?usage: kernel-gate.sh BASE [RUNS]}
runs=${2:-8}
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" >/dev/null 2>&1 || :; rm -rf "$work"' EXIT

git worktree add --detach "$work/tree" "$base" >&2
for side in base head; do
	if [ "$side" = base ]; then tree=$work/tree; else tree=.; fi
	make -C "$tree" O="$work/$side.build" defconfig >&2
	"$tree/scripts/config" --file "$work/$side.build/.config" \
		-e KEXEC_HANDOVER -e LIVEUPDATE -e DEBUG_INFO_BTF -e BPF_SYSCALL
	make -C "$tree" O="$work/$side.build" olddefconfig bzImage -j"$(nproc)" >&2
	luo-trace lab run --kernel "$work/$side.build/arch/x86/boot/bzImage" \
		-n "$runs" -o "$work/$side" >&2
done

status=0
luo-trace gate --base "$work/base" --head "$work/head" --ktap "$work/gate.ktap" >&2 || status=$?
cat "$work/gate.ktap"
exit "$status"
