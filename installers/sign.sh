#!/bin/sh
# Signs one file of a release in place: SIGN=installers/sign.sh make dist
#   exe, msi  Authenticode by osslsigncode, with SIGN_CERT and SIGN_KEY (PEM), or with
#             SIGN_PKCS12 and SIGN_PASSWORD_FILE; a time stamp from SIGN_TIMESTAMP (URL)
#   sums      SHA256SUMS.asc by gpg with SIGN_GPG_KEY, SHA256SUMS.minisig by minisign
#             with SIGN_MINISIGN_KEY
# What no variable asks for stays unsigned. Keys in a hardware module: write a script
# of your own with these two arguments, e.g. around osslsigncode -pkcs11module.
set -eu
kind=$1 file=$2
case $kind in
exe | msi)
	set --
	if [ -n "${SIGN_PKCS12:-}" ]; then
		set -- -pkcs12 "$SIGN_PKCS12"
		if [ -n "${SIGN_PASSWORD_FILE:-}" ]; then set -- "$@" -readpass "$SIGN_PASSWORD_FILE"; fi
	elif [ -n "${SIGN_CERT:-}" ]; then
		set -- -certs "$SIGN_CERT" -key "$SIGN_KEY"
	else
		exit 0
	fi
	if [ -n "${SIGN_TIMESTAMP:-}" ]; then set -- "$@" -ts "$SIGN_TIMESTAMP"; fi
	osslsigncode sign "$@" -h sha256 -n "Tillwire" -in "$file" -out "$file.signed" >&2
	mv "$file.signed" "$file"
	;;
sums)
	if [ -n "${SIGN_GPG_KEY:-}" ]; then
		gpg --batch --yes --local-user "$SIGN_GPG_KEY" --armor --detach-sign --output "$file.asc" "$file"
	fi
	if [ -n "${SIGN_MINISIGN_KEY:-}" ]; then
		minisign -S -s "$SIGN_MINISIGN_KEY" -m "$file" </dev/null
	fi
	;;
*)
	echo "sign.sh: $kind is not exe, msi or sums" >&2
	exit 2
	;;
esac
