#!/bin/sh
# Called by dpkg as `postinst configure [OLD VERSION]`, by rpm as `post 1` (new) or
# `post 2` (upgrade). DPKG_ROOT is another system's root that dpkg works on.
set -e
unit=tillwire-agent.service
case "$1" in
configure)
	new=; [ -n "$2" ] || new=yes
	if [ -z "$DPKG_ROOT" ] && [ -e /usr/share/debconf/confmodule ]; then
		. /usr/share/debconf/confmodule # so that purge can ask
	fi ;;
1) new=yes ;;
2) new= ;;
*) exit 0 ;;
esac

systemd-sysusers ${DPKG_ROOT:+--root="$DPKG_ROOT"} tillwire-agent.conf >&2

# A unit that `tillwire-agent install` wrote before there was this package would
# hide the package's.
old="$DPKG_ROOT/etc/systemd/system/$unit"
if [ -f "$old" ] && grep -q '^# The one text of this unit' "$old"; then
	echo "tillwire-agent: $old gives way to the package's unit" >&2
	rm -f "$old"
fi

if command -v deb-systemd-helper >/dev/null && [ "$1" = configure ]; then
	deb-systemd-helper unmask "$unit" >/dev/null || true
	if deb-systemd-helper --quiet was-enabled "$unit"; then
		deb-systemd-helper enable "$unit" >/dev/null || true
	else
		deb-systemd-helper update-state "$unit" >/dev/null || true
	fi
elif [ -n "$new" ]; then
	systemctl --no-reload enable "$unit" >&2 || true
fi

if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# The new program takes over at once; a unit that was disabled by hand stays off.
	verb=try-restart
	if systemctl --quiet is-enabled "$unit"; then verb=restart; fi
	systemctl $verb "$unit" >&2 ||
		echo "tillwire-agent: not running; systemd tries on: journalctl -u tillwire-agent, tillwire-agent doctor" >&2
fi
if [ -n "$new" ] && [ ! -e "$DPKG_ROOT/etc/tillwire/agent.toml" ]; then
	echo "tillwire-agent: next: tillwire-agent enroll --aggregator URL --token - --store S0042 && tillwire-agent start" >&2
fi
exit 0
