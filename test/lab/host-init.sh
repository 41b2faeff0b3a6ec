#!/bin/bash
# Process 1 of a lab host, started in fresh mount, uts, ipc, net and pid namespaces.
# usage: host-init.sh NAME HOSTDIR [CGROUPDIR...]; says READY by writing HOSTDIR/init.outer-pid.
set -euo pipefail
name=$1 dir=$2
shift 2

# /proc is still the machine's: there, this process has the id by which the lab can end the host.
read -r outer_pid _ </proc/self/stat
for group; do echo 0 >"$group/cgroup.procs"; done

mount --make-rprivate /
hostname "$name"
disk=$dir/disk
mkdir -p "$disk"
mount -o loop,noatime "$dir/disk.img" "$disk"

# Folders of the machine that this host may change: copy on write, the changes on the host's disk.
own_layer() {
  mkdir -p "$disk/layers$1" "$disk/layer-work$1"
  mount -t overlay -o "lowerdir=$1,upperdir=$disk/layers$1,workdir=$disk/layer-work$1" overlay "$1"
}
# Folders that are the host's alone, plain ext4 of its disk.
own_folder() {
  mkdir -p "$disk/folders$1" "$1"
  mount --bind "$disk/folders$1" "$1"
}
own_layer /etc
own_layer /var/lib
own_layer /mnt
own_folder /var/lib/docker
own_folder /var/lib/holdfast
mkdir -p /mnt/cluster /etc/holdfast

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/holdfast /run/lock
mount -t tmpfs -o mode=1777 tmpfs /dev/shm

# A new sysfs shows the network devices of this namespace; the control groups stay the machine's.
mkdir -p "$dir/cgroup"
mount --rbind /sys/fs/cgroup "$dir/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$dir/cgroup" /sys/fs/cgroup
umount -l "$dir/cgroup"

# --remove-destination: on some machines these are links into /run.
cp --remove-destination "$dir/hosts" /etc/hosts
echo "$name" >"$dir/hostname"
cp --remove-destination "$dir/hostname" /etc/hostname
# Nobody answers names here; a query must fail at once, not after a timeout.
echo 'nameserver 127.0.0.1' >"$dir/resolv.conf"
cp --remove-destination "$dir/resolv.conf" /etc/resolv.conf

mount -t proc proc /proc
mount --make-rshared / # as on a host with systemd: FUSE mounts reach the engine and its containers
echo 1 >/proc/sys/net/ipv4/ip_forward

echo "$outer_pid" >"$dir/init.outer-pid.new"
mv "$dir/init.outer-pid.new" "$dir/init.outer-pid"

# bash as process 1 buries the orphans of the host while it waits.
while :; do
  sleep 86400 &
  wait $! || true
done
