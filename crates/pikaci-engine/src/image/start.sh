#!/usr/lib/pikaci/busybox sh
# What an init does that a job counts on: a machine that reaches itself, by its own name too, memory to share, and a /run
# that knows nothing of an earlier boot.
busybox=/usr/lib/pikaci/busybox
# Incus leaves it down in a container without a network.
"$busybox" ip link set lo up
# A job may have been started by now; what is of this boot is not older than the terminals that it was given.
for entry in /run/* /run/.[!.]*; do
    if [ "$entry" != /run/current-system ] && [ "$entry" -ot /dev/pts ]; then
        "$busybox" rm -rf "$entry"
    fi
done
"$busybox" mkdir -p -m 1777 /run/lock /dev/shm
"$busybox" mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
name=$("$busybox" hostname)
"$busybox" grep -qw "$name" /etc/hosts || echo "127.0.1.1 $name" >>/etc/hosts
