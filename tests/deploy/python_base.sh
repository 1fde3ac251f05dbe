#!/bin/sh
# python_base.sh ROOTFS.TAR: the files of an image laid out like docker.io/library/python:3.11-slim, made without a registry.
#
# Debian's smallest system without manuals and translations, as debian:bookworm-slim is, and beside it this machine's own
# CPython (PYTHON) in /usr/local without its tests, as the official image is. About as large as the official one, so
# that sizes measured on it mean something. Needs root and Debian's mmdebstrap.
#
# PIP_CERT, where a network has its own authority: that bundle is added for pip.
set -eu
tar=$1
python=${PYTHON:-python3.11}
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mmdebstrap --quiet --variant=minbase --mode=root --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged,ca-certificates,netbase,tzdata,libssl3,libffi8,libsqlite3-0,liblzma5,libbz2-1.0,zlib1g,libreadline8,libncursesw6,libuuid1,libexpat1 \
  bookworm "$work/root" >&2
local=$work/root/usr/local
rm -rf "$work"/root/var/lib/apt/lists/* "$work"/root/var/cache/apt/*
mkdir -p "$local/bin" "$local/lib"
cp "$prefix/bin/$name" "$local/bin/"
cp -P "$prefix"/lib/libpython3* "$local/lib/" 2>/dev/null || true
tar -C "$prefix/lib" -c --exclude=__pycache__ --exclude=site-packages --exclude=test --exclude=tests \
  --exclude=idle_test --exclude='config-*' "$name" | tar -C "$local/lib" -x
# What config-* holds is for linking; sysconfig reads only its Makefile.
(cd "$prefix/lib" && tar -c "$name"/config-*/Makefile) | tar -C "$local/lib" -x
strip --strip-unneeded "$local"/lib/*.so* "$local/bin/$name" "$local/lib/$name"/lib-dynload/*.so 2>/dev/null || true
mkdir -p "$local/lib/$name/site-packages"
ln -s "$name" "$local/bin/python3"
ln -s python3 "$local/bin/python"
chroot "$work/root" ldconfig
chroot "$work/root" /usr/local/bin/python -m ensurepip >/dev/null
ln -s pip3 "$local/bin/pip"
find "$local" -name __pycache__ -type d -prune -exec rm -rf {} +
if [ -n "${PIP_CERT:-}" ]; then
  cp "$PIP_CERT" "$work/root/etc/pip-cert.pem"
  printf '[global]\ncert = /etc/pip-cert.pem\n' >"$work/root/etc/pip.conf"
fi
tar -C "$work/root" -cf "$tar" .
