#!/bin/sh
# What tests/guests needs: QEMU, Debian's kernel with its modules, and the programs that run inside,
# all unpacked into .tools/guest. Nothing is installed. Called by setup.sh; does nothing when it is
# all there.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
guest=$here/.tools/guest
root=$guest/root
stamp=$guest/.ready
programs='qemu-system-x86 drbd-utils open-iscsi sg3-utils busybox-static kmod cpio xfsprogs btrfs-progs
 lvm2 multipath-tools udev e2fsprogs psmisc iproute2'
# for the initramfs: what finds the root file system
early='virtio_pci virtio_net virtio_blk virtio_console 9p 9pnet_virtio overlay ext4'

say() { printf '%s\n' "guest: $*" >&2; }

fingerprint() { cat "$0" "$here/tests/guests/init" | sha256sum; }

[ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ] || exit 0
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || {
  say 'guests need an amd64 machine with Debian packages'
  exit 1
}
[ "$(id -u)" = 0 ] || {
  say 'next: run it as root once'
  exit 8
}

rm -rf "$guest"
mkdir -p "$guest/packages/partial" "$root"
say 'downloading packages'
apt-get update -q >&2
# shellcheck disable=SC2086
apt-get install --download-only -y -q --no-install-recommends --reinstall \
  -o Dir::Cache::archives="$guest/packages" $programs >&2
# Debian's kernel of today, by its full name.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
(cd "$guest/packages" && apt-get download -q "$kernel" >&2)
say "unpacking $kernel and the programs"
for package in "$guest"/packages/*.deb; do dpkg -x "$package" "$root"; done
rm -rf "$guest/packages"

# They go over this machine's own root, where /bin and /lib are links into /usr.
for folder in bin sbin lib lib64; do
  [ -d "$root/$folder" ] || continue
  mkdir -p "$root/usr/$folder"
  cp -a "$root/$folder/." "$root/usr/$folder/"
  rm -rf "${root:?}/$folder"
done
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
version=${kernel#linux-image-}
for folder in gpu media net/wireless infiniband staging; do
  rm -rf "$root/usr/lib/modules/$version/kernel/drivers/$folder"
done
rm -rf "$root/usr/lib/modules/$version/kernel/sound"
mv "$root/boot/vmlinuz-$version" "$guest/kernel"
rm -rf "$root/boot"
kmod=$root/usr/bin/kmod
for name in depmod modprobe; do ln -sf "$kmod" "$guest/$name"; done
"$guest/depmod" -b "$root/usr" "$version"

say 'making the initramfs'
tree=$guest/tree
mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev"
cp "$root/usr/bin/busybox" "$tree/bin/"
for module in $early; do
  "$guest/modprobe" -d "$root/usr" -S "$version" -D "$module" 2>/dev/null |
    sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' >"$guest/early"
while read -r module; do
  cp "$module" "$tree/modules/"
  echo "/modules/${module##*/}" >>"$tree/order"
done <"$guest/early"
cp "$here/tests/guests/init" "$tree/init"
chmod 755 "$tree/init"
(cd "$tree" && find . | "$root/usr/bin/cpio" -o -H newc --quiet) | gzip -1 >"$guest/initramfs"
rm -rf "$tree" "$guest/early"
fingerprint >"$stamp"
