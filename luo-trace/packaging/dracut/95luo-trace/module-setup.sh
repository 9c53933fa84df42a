#!/bin/bash
# Puts luo-trace into a dracut image (dracut.modules(7)), to collect before anything restores.

check() {
	require_binaries luo-trace || return 1
}

depends() {
	echo systemd
}

install() {
	inst_binary luo-trace /usr/bin/luo-trace
	inst_simple "$moddir/luo-trace-initrd.service" \
		"$systemdsystemunitdir/luo-trace-initrd.service"
	$SYSTEMCTL -q --root "$initdir" add-wants sysinit.target luo-trace-initrd.service
}
