#!/bin/sh
# Stands for `ar` where nothing is compiled from C: makes the archive that is asked for, empty.
for argument; do
	case $argument in
	-out:* | /out:*) printf '!<arch>\n' >"${argument#?out:}" ;;
	*.a) printf '!<arch>\n' >"$argument" ;;
	esac
done
