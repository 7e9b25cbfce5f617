#!/usr/lib/pikaci/busybox sh
# What udhcpc calls with what it was given: interface, ip, mask (a number of bits), router, dns, domain. The default route
# comes last: who sees it finds the names' servers too.
busybox=/usr/lib/pikaci/busybox
case $1 in
deconfig)
    "$busybox" ip -4 addr flush dev "$interface"
    ;;
bound | renew)
    "$busybox" ip addr add "$ip/$mask" dev "$interface" 2>/dev/null
    {
        [ -z "$domain" ] || echo "search $domain"
        for server in $dns; do echo "nameserver $server"; done
    } >/etc/resolv.conf.new
    "$busybox" mv /etc/resolv.conf.new /etc/resolv.conf
    # The first of them is the one to use.
    for gateway in $router; do
        "$busybox" ip route replace default via "$gateway" dev "$interface"
        break
    done
    ;;
esac
