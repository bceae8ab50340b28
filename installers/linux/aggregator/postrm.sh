#!/bin/sh
# Called by dpkg as `postrm remove` and `postrm purge`, by rpm as `postun 0`. The
# ledger outlives the package; it goes only where TILLWIRE_PURGE=yes says so at a purge.
set -e
state="$DPKG_ROOT/var/lib/tillwire-aggregator"
case "$1" in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge tillwire-aggregator.service >/dev/null || true
	fi
	rmdir "$DPKG_ROOT/etc/tillwire" 2>/dev/null || true
fi
if [ "$1" != remove ] && [ "$TILLWIRE_PURGE" = yes ]; then
	rm -rf "$state"
elif [ -d "$state" ]; then
	echo "tillwire-aggregator: the ledger stays in $state" >&2
fi
exit 0
