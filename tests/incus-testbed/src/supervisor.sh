# Keeps one Incus daemon for a test process, and removes every trace of it when that process is gone.
#
# Standard input: `term` and `kill` end the daemon that way and start it again, `crash` does not start it; the end of the
# file ends it for good.
# Standard output: `pid N` after each start, `down` after a crash; at the end `left …` for all that could not be removed.
# Environment: FOLDER (all is below it), INCUS_DIR, INCUS_CONF, PATH, INCUSD and INCUS_GROUP (program, socket's group).
#
# Invariants: nothing is removed while something is mounted below the folder, for a mount may show files of the user's;
# only processes that carry this testbed's folder in their environment or title, and their children, are signalled.

umask 022
cd /
# What is sent to the terminal's processes is not meant for this one: it ends when its input does.
trap '' HUP INT QUIT PIPE
trap 'exit 0' TERM
trap 'clean_up' EXIT

daemon=

# Each of these programs becomes the next, so the daemon has the number of the first.
start() {
    env --default-signal PIKA_TESTBED="$FOLDER" setsid "$INCUSD" --group "$INCUS_GROUP" </dev/null >&2 &
    daemon=$!
    echo "pid $daemon"
}

# A zombie has ended; the shell collects it when it next waits. The name keeps apart a process that got the number later.
lives() {
    [ -n "$daemon" ] && read -r _ name state _ 2>/dev/null <"/proc/$daemon/stat" &&
        [ "$name" = "(incusd)" ] && [ "$state" != Z ]
}

# Ends the daemon with signal $1; after $2 times 20 ms with KILL.
end() {
    lives && kill -s "$1" "$daemon"
    waited=0
    while lives; do
        [ "$waited" -lt "$2" ] || kill -s KILL "$daemon"
        waited=$((waited + 1))
        sleep 0.02
    done
    wait "$daemon" 2>/dev/null
    return 0
}

# Through the daemon, so that control groups, profiles and mounts go the way that they came.
delete_instances() {
    timeout 10 incus list --all-projects --format csv --columns en </dev/null | {
        while IFS=, read -r project instance; do
            timeout 60 incus delete --force --project "$project" "$instance" </dev/null >&2 &
        done
        wait
    }
}

# The daemon's helpers have its environment; a container's monitor may have written its title over that.
helpers() {
    {
        grep -lszxF "PIKA_TESTBED=$FOLDER" /proc/[0-9]*/environ
        # An expression that does not match itself, among the arguments of this very command.
        grep -ls "\[lxc monitor\] $FOLDER/" /proc/[0-9]*/cmdline
    } | cut -d / -f 3 | sort -u
}

# The first process of a container has neither, but its parent is a helper; with it end all processes in the container.
children() {
    for parent in "$@"; do
        grep -ls "^PPid:[[:space:]]$parent\$" /proc/[0-9]*/status | cut -d / -f 3
    done
}

# Of the containers that these processes are in or watch.
control_groups() {
    for process in "$@"; do
        sed -n 's#^[^:]*:[^:]*:\(.*/lxc\.\(monitor\|payload\)\.[^/]*\).*#\1#p' "/proc/$process/cgroup"
    done 2>/dev/null | sort -u
}

# Below the one mount point of version 2, or each of version 1. Fails where a process has not quite ended.
remove_control_group() {
    for top in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ ! -d "$top$1" ] || find "$top$1" -depth -type d -exec rmdir {} +
        [ ! -d "$top$1" ] || return
    done 2>/dev/null
}

mounts() {
    while read -r _ _ _ _ point _; do
        case $point in "$FOLDER"/*) echo "$point" ;; esac
    done </proc/self/mountinfo
}

clean_up() {
    trap '' TERM
    lives && delete_instances
    # All that it would do on TERM, in two seconds, is what follows.
    end KILL 0
    groups=
    for _ in 1 2 3 4 5; do
        left=$(helpers)
        [ -n "$left" ] || break
        left="$(children $left) $left"
        groups="$groups $(control_groups $left)"
        kill -s KILL $left 2>/dev/null
        sleep 0.05
    done
    for group in $groups; do
        for _ in 1 2 3 4 5; do
            remove_control_group "$group" && break
            sleep 0.05
        done
    done
    for _ in 1 2 3 4 5; do
        [ -n "$(mounts)" ] || break
        # The last mounted first.
        mounts | tac | while read -r point; do umount -l "$point" >&2; done
    done
    if [ -z "$(mounts)" ]; then
        rm -rf --one-file-system "$FOLDER"
    fi
    for process in $(helpers); do echo "left process $process"; done
    mounts | while read -r point; do echo "left mount $point"; done
    [ ! -e "$FOLDER" ] || echo "left folder $FOLDER"
}

start
while read -r order; do
    case $order in
        term) end TERM 750 && start ;;
        kill) end KILL 0 && start ;;
        crash) end KILL 0 && echo down ;;
    esac
done
