#!/usr/lib/pikaci/busybox sh
# What an init does that a job counts on: memory to share, and a machine that knows its own name.
busybox=/usr/lib/pikaci/busybox
"$busybox" mkdir -p /dev/shm
"$busybox" mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
name=$("$busybox" hostname)
"$busybox" grep -qw "$name" /etc/hosts || echo "127.0.1.1 $name" >>/etc/hosts
