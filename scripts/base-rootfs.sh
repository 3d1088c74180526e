#!/bin/sh
# A base for `darwin-git image build --base FILE` without a registry: Debian with Python, as a tar.
#   sudo sh base-rootfs.sh base.tar [PACKAGE...]     g++ python3-dev where you use torch.compile
#   SUITE=trixie MIRROR=URL                           another Debian, another mirror
set -eu

out=${1:?usage: sudo sh base-rootfs.sh FILE.tar [PACKAGE...]}
shift
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}

if [ "$(id -u)" -ne 0 ]; then
  echo "base-rootfs: debootstrap needs root: run this with sudo" >&2
  exit 1
fi
if ! command -v debootstrap >/dev/null; then
  echo "base-rootfs: debootstrap is not installed: apt-get install debootstrap" >&2
  exit 1
fi

include=python3,ca-certificates
for package in "$@"; do include=$include,$package; done

root=$(mktemp -d)
trap 'rm -rf "$root" "$out.part"' EXIT
trap 'exit 130' INT TERM
if ! debootstrap --variant=minbase --include="$include" "$suite" "$root/fs" "$mirror" \
  >"$root/log" 2>&1; then
  tail -n 5 "$root/log" >&2
  echo "base-rootfs: debootstrap failed; check the network and MIRROR" >&2
  exit 1
fi
# The packages' archives, their lists and manuals are of no use in an image.
rm -rf "$root/fs/var/cache/apt/archives" "$root/fs/var/lib/apt/lists" "$root/fs/usr/share/doc" \
  "$root/fs/usr/share/man" "$root/fs/usr/share/locale"
mkdir -p "$root/fs/var/cache/apt/archives/partial" "$root/fs/var/lib/apt/lists/partial"
tar --numeric-owner -C "$root/fs" -cf "$out.part" .
mv "$out.part" "$out"
echo "$out: $suite with $include, $(du -h "$out" | cut -f1)" >&2
