#!/bin/sh
# Called by dpkg as `prerm remove` or `prerm upgrade NEW`, by rpm as `preun 0`
# (remove) or `preun 1` (upgrade). An upgrade leaves the service running: the tills
# are without it only while the new program opens the journal.
set -e
unit=tillwire-agent.service
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
	systemctl stop "$unit" >&2 || true
fi
if [ "$1" = 0 ]; then # dpkg remembers for the next install; rpm does not
	systemctl --no-reload disable "$unit" >&2 || true
fi
exit 0
