#!/usr/bin/env bash
# Debian packages that tests run against for real. Installed where we are root; else each test that misses one
# says which. Given names, only what brings those commands: scripts/system-packages.sh mosquitto
set -euo pipefail
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
declare -A needs=([mosquitto]=mosquitto [influxd]=influxdb [ip]=iproute2 [nft]=nftables [git]=git
    [chromium]=chromium [busybox]=busybox-static [promtool]=prometheus)
missing=()
[ $# -gt 0 ] && wanted=("$@") || wanted=("${!needs[@]}")
for command in "${wanted[@]}"; do
    command -v "$command" >/dev/null 2>&1 || [ -x "/usr/sbin/$command" ] || missing+=("${needs[$command]}")
done
[ $# -gt 0 ] || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
[ ${#missing[@]} = 0 ] && exit 0
echo "installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
# Their services are not wanted: tests start private instances.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap "rm -f $policy" EXIT; }
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
