#!/usr/lib/pikaci/busybox sh
# What udhcpc calls with what it was given: interface, ip, mask (a number of bits), router, dns, domain.
busybox=/usr/lib/pikaci/busybox
case $1 in
deconfig)
    "$busybox" ip -4 addr flush dev "$interface"
    ;;
bound | renew)
    "$busybox" ip addr add "$ip/$mask" dev "$interface" 2>/dev/null
    for gateway in $router; do
        "$busybox" ip route replace default via "$gateway" dev "$interface"
        break
    done
    {
        [ -z "$domain" ] || echo "search $domain"
        for server in $dns; do echo "nameserver $server"; done
    } >/etc/resolv.conf.new
    "$busybox" mv /etc/resolv.conf.new /etc/resolv.conf
    ;;
esac
