#!/bin/bash
# Starts the private libvirtd of one state directory, detached, and prints the pid of the process that holds it.
#   private_libvirtd.sh STATE KVM PYTHON SHARED    KVM: yes leaves /dev/kvm visible; STATE/libvirt is configured already
# Its mount namespace has a /run of its own, in which the directories of STATE that SHARED names (words) are short and
# traversable for QEMU's user, and in which neither the system's libvirtd nor D-Bus (hence systemd-machined, which would
# be told wrong pids) is seen.
# The network namespace stays: taps join our bridge. The PID namespace has an init that reaps at once; ends with it.
set -eu
STATE=$1 KVM=$2 PYTHON=$3 SHARED=$4 HERE=$(cd "$(dirname "$0")" && pwd)
if [ "${5-}" != inside ]; then
  exec 9>>"$STATE/libvirt/lock"
  flock -n 9 || { echo "another libvirtd holds $STATE/libvirt" >&2; exit 75; }
  setsid unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
    /bin/bash "$0" "$STATE" "$KVM" "$PYTHON" "$SHARED" inside </dev/null >>"$STATE/libvirt/log/host.log" 2>&1 &
  echo $!
  exit
fi
umask 022
AT=$STATE/libvirt/root    # built aside: STATE itself may lie under /run
mount -n -t tmpfs -o mode=755,size=16m tmpfs "$AT"
mkdir -p "$AT/libvirt" "$AT/lock"
for name in $SHARED; do
  mkdir -p "$AT/cloudcore/$name"
  mount -n --bind "$STATE/$name" "$AT/cloudcore/$name"
done
mount -n --bind "$STATE/libvirt/run" "$AT/libvirt"
for name in etc/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt; do
  mkdir -p "/$name"
  kind=${name%/libvirt}
  mount -n --bind "$STATE/libvirt/${kind##*/}" "/$name"
done
# libvirt must find a useless /dev/kvm inaccessible, for root too (hence read-only), or it probes QEMU at each start.
if [ "$KVM" != yes ] && [ -e /dev/kvm ]; then
  mount -n --bind "$STATE/libvirt/nokvm" /dev/kvm
  mount -n -o remount,bind,ro /dev/kvm
fi
# No cgroups: group names of two libvirtd may collide, and without D-Bus it would make them in our caller's group.
umount -n --recursive --lazy /sys/fs/cgroup 2>/dev/null || true
mount -n --move "$AT" /run
exec "$PYTHON" -I -S "$HERE/reaping_init.py" libvirtd -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid
