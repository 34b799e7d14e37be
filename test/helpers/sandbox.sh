#!/bin/sh
# The throwaway namespaces of one root test; started by namespaces.ts.
#   sandbox.sh around DISK   makes the control group, runs the rest, clears what the kernel does not clear itself
#   sandbox.sh inside        is pid 1 in there; says "ready HOST_PID CONTROL_GROUP" and lives until stdin ends
# stdin is a pipe that only the test process holds open: however that ends, everything here ends too.
set -eu

around() {
	disk=$1
	OVERLAY_TEST_CGROUPS=$(findmnt -n -l -t cgroup2 -o TARGET | head -n 1)
	home=$OVERLAY_TEST_CGROUPS$(sed -n 's/^0:://p' /proc/self/cgroup)
	OVERLAY_TEST_GROUP=${home%/}/overlay-boot-test-$$
	export OVERLAY_TEST_CGROUPS OVERLAY_TEST_GROUP
	if [ -z "$OVERLAY_TEST_CGROUPS" ] || ! mkdir "$OVERLAY_TEST_GROUP" 2>/dev/null; then
		OVERLAY_TEST_GROUP=
	else
		echo $$ >"$OVERLAY_TEST_GROUP/cgroup.procs"
	fi
	status=0
	# --kill-child: pid 1 dies with unshare, and with pid 1 every process of its pid namespace.
	unshare --mount --net --uts --cgroup --pid --fork --kill-child --propagation private \
		/bin/sh "$0" inside || status=$?
	if [ -n "$OVERLAY_TEST_GROUP" ]; then
		echo $$ >"$home/cgroup.procs"
		find "$OVERLAY_TEST_GROUP" -depth -type d -exec rmdir {} +
	fi
	# No mount of the sandbox is in this mount namespace; --one-file-system is for a mount of somebody else.
	rm -rf --one-file-system "$disk"
	return "$status"
}

own_sysfs() {
	# sysfs shows the network namespace it was mounted in; the control groups are kept from the old one.
	mkdir /mnt/cgroup
	if mountpoint -q /sys/fs/cgroup; then mount --rbind /sys/fs/cgroup /mnt/cgroup; fi
	umount -l /sys
	mount -t sysfs sysfs /sys
	if mountpoint -q /mnt/cgroup; then mount --move /mnt/cgroup /sys/fs/cgroup; fi
	if [ -n "$OVERLAY_TEST_GROUP" ]; then
		# Mounted anew it has the control group namespace's root as its root.
		umount "$OVERLAY_TEST_CGROUPS"
		mount -t cgroup2 cgroup2 "$OVERLAY_TEST_CGROUPS"
	fi
}

own_directories() {
	for directory in etc opt srv var; do
		mkdir -p "/mnt/$directory/upper" "/mnt/$directory/work"
		mount -t overlay -o "lowerdir=/$directory,upperdir=/mnt/$directory/upper,workdir=/mnt/$directory/work" \
			overlay "/$directory"
	done
	rm -rf /etc/overlay-boot /etc/subhosts.conf
	mkdir -p /srv/t /opt/subhost
	for directory in /run /var/log /srv/t /opt/subhost; do
		mount -t tmpfs -o mode=755 tmpfs "$directory"
	done
	mkdir -m 1777 /run/lock
	mkdir /run/network
}

# Opens the way to the checkout for tests that run as another user: /root is closed on most machines. The
# directory is changed on a layer of the sandbox's own.
open_way() {
	project=$(cd "$(dirname "$0")/../.." && pwd -P)
	way=
	closed=
	IFS=/
	for part in ${project#/}; do
		way=$way/$part
		case $(stat -c %A "$way") in *[xt]) continue ;; esac
		if [ -z "$closed" ]; then
			closed=$way
			mkdir -p /mnt/way/upper /mnt/way/work
			mount -t overlay -o "lowerdir=$way,upperdir=/mnt/way/upper,workdir=/mnt/way/work" overlay "$way"
		fi
		chmod o+x "$way"
	done
	unset IFS
}

inside() {
	# /proc is still the host's: this is the shell's pid as the host numbers it.
	read -r host_pid _ </proc/self/stat
	umount -l /proc
	mount -t proc proc /proc
	mount -t tmpfs tmpfs /mnt
	own_sysfs
	own_directories
	open_way
	umount -l /mnt
	ip link set lo up
	echo "ready $host_pid $OVERLAY_TEST_GROUP"
	# cat alone holds the pipe; `wait` reaps what is orphaned in here, too.
	exec 3<&0 </dev/null >/dev/null 2>&1
	cat <&3 &
	exec 3<&-
	wait $!
}

"$@"
