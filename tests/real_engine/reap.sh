#!/bin/sh
# reap.sh FOLDER CGROUP: once stdin closes, which happens when the test that started an engine is done or dead, removes
# all that engine left: processes, mounts, cgroups, sockets, FOLDER. It finds them by names no other engine has.
folder=$1 cgroup=$2
trap '' HUP INT TERM
cat >/dev/null

# dockerd, containerd, shims and runc name the exec root in their arguments; what runs in a container has its cgroup.
# The pattern comes through a pipe, or grep would find itself. A zombie has no arguments and no further harm in it.
processes() {
    # shellcheck disable=SC2062
    {
        printf '%s' "$folder/exec" | grep -lsaFf - /proc/[0-9]*/cmdline
        printf '%s' "/$cgroup/" | grep -lsFf - /proc/[0-9]*/cgroup
    } | cut -d/ -f3 | sort -u | while read -r pid; do
        if grep -qsa . "/proc/$pid/cmdline"; then echo "$pid"; fi
    done
}

find_cgroups() { find /sys/fs/cgroup -depth -type d -path "*/$cgroup*"; }

# A paused container dies only once it is thawed.
for state in /sys/fs/cgroup/freezer/"$cgroup"/*/freezer.state; do
    [ -e "$state" ] && echo THAWED >"$state"
done

attempt=0
pids=$(processes)
while [ -n "$pids" ] && [ "$attempt" -lt 100 ]; do
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null
    attempt=$((attempt + 1))
    sleep 0.05
    pids=$(processes)
done

# A shim that was killed leaves its socket, outside of the folder.
grep -rhosE '/run/containerd/s/[0-9a-f]+' "$folder/exec/containerd/daemon" | xargs -r rm -f

# Inner mounts first; lazily, as a dying mount namespace may hold one for a moment.
awk -v prefix="$folder/" 'index($2, prefix) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount"
done

attempt=0
cgroups=$(find_cgroups)
while [ -n "$cgroups" ] && [ "$attempt" -lt 20 ]; do
    # shellcheck disable=SC2086
    rmdir $cgroups 2>/dev/null
    attempt=$((attempt + 1))
    sleep 0.05
    cgroups=$(find_cgroups)
done
# Those of cgroup v2, which the machine may not show.
unshare --mount sh -c 'mount -t cgroup2 none /sys/fs/cgroup && find /sys/fs/cgroup -depth -type d -path "*/$0*" -exec rmdir {} \;' "$cgroup"
rm -rf --one-file-system "$folder"
