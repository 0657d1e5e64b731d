#!/bin/sh
# The first program: loads what it takes to reach the root file system, mounts it read-only
# and hands over. Whatever fails is said on the console, and the machine starts again: a
# camera on a pole has nobody who would press a key.

PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys

fail() {
    echo "peercam: $*" >/dev/console
    echo "peercam: can't start; rebooting in 5 seconds" >/dev/console
    busybox sleep 5
    busybox reboot -f
}

while read -r file options; do
    # $options is several words.
    busybox insmod "/modules/$file" $options ||
        echo "peercam: the kernel module $file can't be loaded" >/dev/console
done </modules.list

# From here on a start that hangs is a reset. Whoever opens it next finds the timer running: rcS
# does before long, well within any driver's own timeout.
[ ! -c /dev/watchdog ] || echo >/dev/watchdog

label=
for word in $(busybox cat /proc/cmdline); do
    case $word in
        root=PARTLABEL=*) label=${word#root=PARTLABEL=} ;;
    esac
done
[ -n "$label" ] || fail "no root=PARTLABEL=… on the kernel command line"

# The links that udev would make; the root file system uses them too.
link_partitions() {
    busybox mkdir -p /dev/disk/by-partlabel
    for uevent in /sys/class/block/*/uevent; do
        device= name=
        while IFS='=' read -r key value; do
            case $key in
                DEVNAME) device=$value ;;
                PARTNAME) name=$value ;;
            esac
        done <"$uevent"
        [ -n "$name" ] && busybox ln -sf "../../$device" "/dev/disk/by-partlabel/$name"
    done
}

root=/dev/disk/by-partlabel/$label
tries=0
link_partitions
while [ ! -e "$root" ]; do
    [ $tries -lt 100 ] || fail "no partition $label after 10 seconds; there are: $(busybox ls /dev/disk/by-partlabel | busybox tr '\n' ' ')"
    tries=$((tries + 1))
    busybox sleep 0.1
    link_partitions
done

busybox mount -t squashfs -o ro "$root" /root || fail "the partition $label can't be mounted"
for folder in dev proc sys; do
    busybox mount -o move "/$folder" "/root/$folder"
done
# From here on the kernel's panic=… stands for `fail`.
exec busybox switch_root /root /sbin/init
