#!/bin/bash
# Builds the tiny guest, one bootable disk of 28 MiB: Debian's cloud kernel, busybox, dropbear, and ./init beside this.
#   build.sh OUTDIR [KERNELDIR]     makes OUTDIR/tiny.raw and, the same but smaller, OUTDIR/tiny.qcow2
#                                   KERNELDIR: an unpacked linux-image-cloud package; without it apt-get fetches one
# No root, no mount, no loop device; 2 s and the download. Modules are taken uncompressed (Debian 12; later: .ko.xz).
set -eu
OUT=$(cd "$1" && pwd) KERNEL=${2-} HERE=$(cd "$(dirname "$0")" && pwd) DATA_MIB=${DATA_MIB:-8}
export PATH=$PATH:/usr/sbin:/sbin
TREE=$(mktemp -d "$OUT/build.XXXXXX"); trap 'rm -rf "$TREE"' EXIT

if [ -z "$KERNEL" ]; then
  KERNEL=$TREE/kernel
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
  [ -n "$package" ] || { echo "apt knows no linux-image-cloud-amd64: apt-get update" >&2; exit 1; }
  (cd "$TREE" && apt-get -q download "$package" && dpkg-deb -x linux-image-*.deb "$KERNEL")
fi
VERSION=$(ls "$KERNEL/lib/modules")

# --- the initial root file system -----------------------------------------------------------------------------------
R=$TREE/root
mkdir -p "$R"/{bin,sbin,etc/acpi/PWRF,lib/modules,lib64,root,proc,sys,dev,tmp,usr/bin}
cp /bin/busybox "$R/bin/busybox"
# The order of loading. The file names mix '-' and '_': virtio-rng.ko, virtio_balloon.ko.
ORDER="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net
       virtio_blk virtio-rng virtio_balloon virtio_console button evdev"
for module in $ORDER; do
  cp "$(find "$KERNEL/lib/modules/$VERSION/kernel" -name "$module.ko")" "$R/lib/modules/"
done
strip --strip-debug "$R"/lib/modules/*.ko
echo $ORDER > "$R/lib/modules/order"
for program in /usr/sbin/dropbear /usr/bin/dropbearkey; do
  cp "$program" "$R/sbin/"
  for library in $(ldd "$program" | grep -oE '/[^ ]+'); do
    mkdir -p "$R$(dirname "$library")"; cp -Ln "$library" "$R$library"
  done
done
cp -L /lib/x86_64-linux-gnu/libnss_files.so.2 "$R/lib/x86_64-linux-gnu/" 2>/dev/null || true
install -m 755 "$HERE/init" "$R/init"
install -m 755 "$HERE/udhcpc.sh" "$R/etc/udhcpc.sh"
install -m 755 "$HERE/hotplug" "$R/sbin/hotplug"
printf 'root::0:0:root:/root:/bin/sh\n' > "$R/etc/passwd"
echo 'root:x:0:' > "$R/etc/group"; echo /bin/sh > "$R/etc/shells"; echo 'passwd: files' > "$R/etc/nsswitch.conf"
printf '#!/bin/sh\nsync; umount /data; poweroff -f\n' > "$R/etc/acpi/PWRF/00000080"   # acpid: power button
chmod +x "$R/etc/acpi/PWRF/00000080"
(cd "$R" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet | gzip -9) > "$TREE/initrd.gz"
cp "$KERNEL"/boot/vmlinuz-* "$TREE/vmlinuz"

# --- one-file disk: MBR | p1 FAT16 with syslinux, kernel, initrd | p2 ext4 'data' -----------------------------------
# FAT16, because FAT32 wants at least 33 MiB. Every tool writes at an offset into the file.
KIB=$(( ($(stat -c %s "$TREE/vmlinuz") + $(stat -c %s "$TREE/initrd.gz")) / 1024 ))
BOOT_MIB=$(( KIB / 1024 + 3 )) DATA_AT=$(( KIB / 1024 + 4 ))
T=$TREE/tiny.raw; truncate -s $(( DATA_AT + DATA_MIB ))M "$T"
sfdisk -q "$T" <<P
label: dos
start=1MiB,size=${BOOT_MIB}MiB,type=6,bootable
start=${DATA_AT}MiB,size=${DATA_MIB}MiB,type=83
P
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$T" conv=notrunc bs=440 count=1 status=none
mkfs.fat --offset 2048 -F 16 -n TINY "$T" $(( BOOT_MIB * 1024 )) >/dev/null 2>&1   # warns of the larger file
syslinux -t $(( 1 << 20 )) -i "$T"
cat > "$TREE/syslinux.cfg" <<C
SERIAL 0 115200
DEFAULT l
PROMPT 0
LABEL l
 LINUX vmlinuz
 INITRD initrd.gz
 APPEND console=tty0 console=ttyS0,115200 quiet loglevel=3 panic=5 nokaslr mitigations=off cryptomgr.notests apparmor=0
C
mcopy -i "$T@@1M" "$TREE/vmlinuz" "$TREE/initrd.gz" "$TREE/syslinux.cfg" ::/
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -L data -E offset=$(( DATA_AT << 20 )) -F "$T" "${DATA_MIB}M" 2>/dev/null

# QEMU locks images in use, backing files too: built aside, then renamed.
qemu-img convert -f raw -O qcow2 "$T" "$TREE/tiny.qcow2"
mv "$TREE/tiny.qcow2" "$OUT/tiny.qcow2"; mv "$T" "$OUT/tiny.raw"
