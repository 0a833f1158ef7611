#!/bin/bash
# Builds a real Debian guest with stock cloud-init and sshd as one bootable qcow2, from the packages of apt's own sources.
#   build.sh OUTDIR SUITE SOURCES     makes OUTDIR/debian.qcow2; SOURCES: a file of apt's one-line sources
# Root for mmdebstrap's chroot; no loop device, nothing mounted outside mmdebstrap's own namespace.
#
# What makes it quick: merged /usr from the start, not by the usrmerge package, which drags in perl; no initramfs-tools,
# but an initial root file system of busybox and the six modules that a virtio disk needs, made here; no documentation.
set -eu
OUT=$(cd "$1" && pwd) SUITE=$2 SOURCES=$3 HERE=$(cd "$(dirname "$0")" && pwd) ROOT_MIB=${ROOT_MIB:-640}
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
TREE=$(mktemp -d "$OUT/build.XXXXXX"); trap 'rm -rf "$TREE"' EXIT
R=$TREE/root KERNEL=$TREE/kernel; mkdir "$KERNEL"
took() { echo "$1: $SECONDS s"; SECONDS=0; }

# --- the root file system -------------------------------------------------------------------------------------------
packages=usr-is-merged,systemd-sysv,udev,dbus,kmod,ifupdown,isc-dhcp-client,netbase,iproute2
packages+=,cloud-init,cloud-guest-utils,e2fsprogs,openssh-server,sudo
# The kernel by the same lists of packages, but unpacked only: it depends on a maker of initial root file systems.
fetch='cd "$KERNEL" && export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG && apt-get -q download "$(apt-cache depends
  linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[^ ]*\).*/\1/p" | head -n 1)"'
excludes=(); for place in doc man info locale i18n lintian; do
  excludes+=(--dpkgopt="path-exclude=/usr/share/$place/*")
done
KERNEL=$KERNEL mmdebstrap --mode=root --variant=minbase --quiet --include=$packages \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --customize-hook="$(echo $fetch)" \
  "${excludes[@]}" --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' "$SUITE" "$R" "$SOURCES"
took packages
dpkg-deb -x "$KERNEL"/linux-image-*.deb "$KERNEL"
VERSION=$(ls "$KERNEL/lib/modules")
# udev would load these for devices of the emulated board that no guest uses, one after the other.
(cd "$KERNEL/lib/modules/$VERSION/kernel" && rm -rf arch/x86/kvm drivers/{ata,scsi,cpufreq,gpu,infiniband} sound)
cp -a "$KERNEL/lib/modules" "$R/usr/lib/"
chroot "$R" depmod "$VERSION"

# Of this machine nothing may stay, and no two guests may be the same.
rm -f "$R"/etc/ssh/ssh_host_*; : > "$R/etc/machine-id"; echo debian > "$R/etc/hostname"
# mmdebstrap leaves the nameservers of this machine, which cloud-init would ask before DHCP has told it better.
: > "$R/etc/resolv.conf"
echo '/dev/vda2 / ext4 rw,discard,errors=remount-ro 0 1' > "$R/etc/fstab"
# Only what would cost minutes under emulation; how cloud-init finds its datasource is left as Debian ships it.
echo LANG=C.UTF-8 > "$R/etc/default/locale"
cat > "$R/etc/cloud/cloud.cfg.d/95_small.cfg" <<C
locale: C.UTF-8
ssh_genkeytypes: [ed25519]
apt: {preserve_sources_list: true}
C
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
            e2scrub_reap.service; do
  ln -sf /dev/null "$R/etc/systemd/system/$unit"
done

# --- the initial root file system -----------------------------------------------------------------------------------
I=$TREE/initial; mkdir -p "$I"/{bin,dev,proc,root,modules}
cp /bin/busybox "$I/bin/"; install -m 755 "$HERE/init" "$I/init"
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
  cp "$(find "$KERNEL/lib/modules/$VERSION/kernel" -name "$module.ko")" "$I/modules/"
done
(cd "$I" && find . | sort | cpio -o -H newc -R 0:0 --quiet | gzip) > "$TREE/initrd.gz"
cp "$KERNEL"/boot/vmlinuz-* "$TREE/vmlinuz"
took 'kernel and settings'

# --- one disk: MBR | p1 FAT16 with syslinux, kernel, initial root | p2 ext4, filled by mke2fs -----------------------
KIB=$(( ($(stat -c %s "$TREE/vmlinuz") + $(stat -c %s "$TREE/initrd.gz")) / 1024 ))
BOOT_MIB=$(( KIB / 1024 + 3 )) ROOT_AT=$(( KIB / 1024 + 4 ))
T=$TREE/debian.raw; truncate -s $(( ROOT_AT + ROOT_MIB ))M "$T"
sfdisk -q "$T" <<P
label: dos
start=1MiB,size=${BOOT_MIB}MiB,type=6,bootable
start=${ROOT_AT}MiB,size=${ROOT_MIB}MiB,type=83
P
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$T" conv=notrunc bs=440 count=1 status=none
mkfs.fat --offset 2048 -F 16 -n BOOT "$T" $(( BOOT_MIB * 1024 )) >/dev/null 2>&1   # warns of the larger file
syslinux -t $(( 1 << 20 )) -i "$T"
cat > "$TREE/syslinux.cfg" <<C
SERIAL 0 115200
DEFAULT l
PROMPT 0
LABEL l
 LINUX vmlinuz
 INITRD initrd.gz
 APPEND root=/dev/vda2 console=tty0 console=ttyS0,115200 net.ifnames=0 quiet loglevel=3 panic=5 nokaslr mitigations=off cryptomgr.notests apparmor=0
C
mcopy -i "$T@@1M" "$TREE/vmlinuz" "$TREE/initrd.gz" "$TREE/syslinux.cfg" ::/
mke2fs -q -t ext4 -L root -d "$R" -E offset=$(( ROOT_AT << 20 )) -F "$T" "${ROOT_MIB}M" 2>/dev/null
qemu-img convert -f raw -O qcow2 "$T" "$TREE/debian.qcow2"
mv "$TREE/debian.qcow2" "$OUT/debian.qcow2"
took disk
