#!/bin/sh
# Take out of a Debian root what a running service never needs: compilers, package managers, their caches.
set -eu
# The names of what is installed stay in /var/lib/dpkg/status: scanners read them.
if command -v dpkg >/dev/null; then
  dpkg --purge --force-all apt binutils cpp g++ gcc make dpkg-dev >/dev/null 2>&1 || true
fi
rm -rf /usr/share/python-wheels /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip
rm -rf /usr/lib/python3/dist-packages/pip* /usr/local/lib/python3*/site-packages/*
rm -rf /usr/bin/pip* /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/wheel
rm -rf /etc/cron.* /usr/share/bug /usr/share/lintian
rm -rf /var/lib/apt /var/cache/* /var/log/* /var/lib/dpkg/info /etc/apt /usr/lib/apt /usr/bin/apt* /usr/bin/dpkg*
# Nobody becomes another user here.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# Last, and by itself: what removes must not be removed before.
rm -f "$0"
