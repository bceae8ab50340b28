#!/bin/sh
# Called by dpkg as `postrm remove` and `postrm purge`, by rpm as `postun 0`. The
# journal outlives the package: what is not merged exists nowhere else. It goes
# only where a person, debconf's answer or TILLWIRE_PURGE=yes says so.
set -e
state="$DPKG_ROOT/var/lib/tillwire-agent"
config="$DPKG_ROOT/etc/tillwire/agent.toml"
case "$1" in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
delete="$TILLWIRE_PURGE"
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge tillwire-agent.service >/dev/null || true
	fi
	if [ -z "$DPKG_ROOT" ] && [ -e /usr/share/debconf/confmodule ]; then
		. /usr/share/debconf/confmodule
		if [ -z "$delete" ] && [ -d "$state" ]; then
			db_input high tillwire-agent/purge-journal || true
			db_go || true
			if db_get tillwire-agent/purge-journal && [ "$RET" = true ]; then delete=yes; fi
		fi
		db_purge || true
	fi
	rm -f "$config" "$config.tmp"
	rmdir "$DPKG_ROOT/etc/tillwire" 2>/dev/null || true
fi
if [ "$1" != remove ] && [ "$delete" = yes ]; then
	rm -rf "$state"
elif [ -d "$state" ]; then
	echo "tillwire-agent: the journal stays in $state" >&2
fi
exit 0
