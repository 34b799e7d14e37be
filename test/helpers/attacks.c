/*
 * What root inside a subhost may try against the host, each try in a process of its own.
 *
 * usage: attacks HOST_LINK [NAME...]
 * HOST_LINK is the name of an interface of the host. Prints a line for each attack: its name, and "done" or the errno
 * that refused it. For a node of the host's disk stands one of /dev/zero, which the machine lets us open. Where the effect would hurt the machine, what is asked
 * for is nothing or nonsense, and the errno tells whether the caller was refused or only the nonsense.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *host_link;

static int no(int err)
{
	errno = err;
	return -1;
}

/* ---- devices and disks ---- */

static int read_device(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY);
	return fd < 0 ? -1 : read(fd, &byte, 1) == 1 ? 0 : -1;
}

static int make_node_in(const char *path)
{
	unlink(path);
	return mknod(path, S_IFCHR | 0600, makedev(1, 5)) < 0 ? -1 : read_device(path);
}

static int make_node(void) { return make_node_in("/node-made"); }
static int make_node_in_dev(void) { return make_node_in("/dev/node"); }
static int make_node_in_run(void) { return make_node_in("/run/node"); }
static int make_node_in_shm(void) { return make_node_in("/dev/shm/node"); }
static int make_node_in_share(void) { return make_node_in("/share/node"); }
static int read_node_of_layer(void) { return read_device("/layer-node"); }
static int write_node_of_layer(void) { return open("/layer-node", O_WRONLY); }
static int read_node_of_share(void) { return read_device("/share/layer-node"); }

/* The host's file system has the program that /.reaper is a mount of; 2 is the root of ext4. */
static int open_by_handle(void)
{
	struct {
		struct file_handle head;
		unsigned ino[2];
	} handle = {.head = {.handle_bytes = 8, .handle_type = 1}, .ino = {2, 0}};
	int mount = open("/.reaper", O_RDONLY);
	return mount < 0 ? -1 : open_by_handle_at(mount, &handle.head, O_RDONLY);
}

/* ---- mounts ---- */

static int mount_type(const char *type, const char *options)
{
	mkdir("/run/place", 0700);
	int result = mount("none", "/run/place", type, 0, options);
	umount2("/run/place", MNT_DETACH);
	return result;
}

static int mount_proc(void) { return mount_type("proc", NULL); }
static int mount_sysfs(void) { return mount_type("sysfs", NULL); }
static int mount_cgroup(void) { return mount_type("cgroup", "none,name="); } /* for its release_agent */
static int mount_cgroup2(void) { return mount_type("cgroup2", NULL); }
static int mount_binfmt(void) { return mount_type("binfmt_misc", NULL); }
static int mount_debugfs(void) { return mount_type("debugfs", NULL); }
static int mount_disk(void) { return mount("/layer-node", "/run", "ext4", MS_RDONLY, "no-such-option"); }
static int fsopen_proc(void) { return (int)syscall(SYS_fsopen, "proc", 0); }
static int clone_mount(void) { return (int)syscall(SYS_open_tree, AT_FDCWD, "/proc", 1 /* OPEN_TREE_CLONE */); }
static int remount_sys(void) { return mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static int remount_root_dev(void) { return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL); }
static int unmask(void)
{
	static const char *const masked[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"};
	int i = 0;
	while (i < 3 && access(masked[i], F_OK) < 0)
		i++;
	return umount2(masked[i], MNT_DETACH);
}
static int unmount_reaper(void) { return umount2("/.reaper", MNT_DETACH); }
static int replace_reaper(void) { return unlink("/.reaper") < 0 ? -1 : close(open("/.reaper", O_CREAT | O_WRONLY, 0755)); }
static int write_reaper(void) { return open("/.reaper", O_WRONLY); }
static int pivot(void) { return (int)syscall(SYS_pivot_root, "/", "/"); }
static int set_trusted(void) { return setxattr("/etc", "trusted.overlay.test", "y", 1, 0); }

/* ---- files of the kernel ---- */

/* Writes what is in it already. */
static int rewrite(const char *path)
{
	char text[4096];
	int from = open(path, O_RDONLY), to = open(path, O_WRONLY);
	if (to < 0)
		return -1;
	ssize_t n = read(from, text, sizeof text);
	return n < 0 || write(to, text, (size_t)n) != n ? -1 : 0;
}

static int core_pattern(void) { return rewrite("/proc/sys/kernel/core_pattern"); }
static int modprobe_path(void) { return rewrite("/proc/sys/kernel/modprobe"); }
static int overcommit(void) { return rewrite("/proc/sys/vm/overcommit_memory"); }
static int sysrq(void) { return open("/proc/sysrq-trigger", O_WRONLY); }
static int uevent_helper(void) { return open("/sys/kernel/uevent_helper", O_WRONLY); }
static int kernel_sysfs(void) { return open("/sys/kernel/profiling", O_WRONLY); }
static int kernel_memory(void)
{
	char magic[4];
	int fd = open("/proc/kcore", O_RDONLY);
	return fd < 0 ? -1 : read(fd, magic, 4) == 4 ? 0 : no(ENODATA);
}

/* ---- namespaces and processes ---- */

static int enter_again(const char *path)
{
	int fd = open(path, O_RDONLY);
	return fd < 0 ? -1 : setns(fd, 0);
}

static int enter_mounts(void) { return enter_again("/proc/1/ns/mnt"); }
static int enter_network(void) { return enter_again("/proc/1/ns/net"); }
static int new_mounts(void) { return unshare(CLONE_NEWNS); }
static int new_user(void) { return unshare(CLONE_NEWUSER); }

/* The keeper is on the host, beside every subhost. */
static pid_t find_keeper(void)
{
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		char path[300], name[32] = "";
		snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
		int fd = atoi(e->d_name) ? open(path, O_RDONLY) : -1;
		if (fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strncmp(name, "overlay-keep", 12) == 0)
			return atoi(e->d_name);
		close(fd);
	}
	return 0;
}

static int see_keeper(void) { return find_keeper() ? 0 : no(ESRCH); }

/* Whoever answers to a signal is seen in /proc. */
static int signal_unseen(void)
{
	char path[32];
	for (pid_t pid = 2; pid < 32768; pid++) {
		snprintf(path, sizeof path, "/proc/%d", (int)pid);
		if (kill(pid, 0) == 0 && access(path, F_OK) < 0 && kill(pid, 0) == 0)
			return 0;
	}
	return no(ESRCH);
}

static int trace_keeper(void)
{
	pid_t keeper = find_keeper();
	return keeper ? (int)ptrace(PTRACE_SEIZE, keeper, 0, 0) : no(ESRCH);
}

/* The marker lies on the host, where the subhost's root has nothing. */
static int find_marker(const char *form)
{
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		char path[400];
		snprintf(path, sizeof path, form, e->d_name);
		strcat(path, "/srv/t/host-marker");
		if (atoi(e->d_name) && access(path, F_OK) == 0)
			return 0;
	}
	return no(ENOENT);
}

static int by_root(void) { return find_marker("/proc/%s/root"); }
static int by_cwd(void) { return find_marker("/proc/%s/cwd/../../../../../../../.."); }

static int by_descriptors(void)
{
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		char path[400];
		if (!atoi(e->d_name))
			continue;
		for (int fd = 0; fd < 64; fd++) {
			snprintf(path, sizeof path, "/proc/%s/fd/%d/../../../../../../../../srv/t/host-marker", e->d_name, fd);
			if (access(path, F_OK) == 0)
				return 0;
			snprintf(path, sizeof path, "/proc/%s/fd/%d/srv/t/host-marker", e->d_name, fd);
			if (access(path, F_OK) == 0)
				return 0;
		}
	}
	return no(ENOENT);
}

static int climb_out_of(const char *start)
{
	if (chdir(start) < 0)
		return -1;
	for (int i = 0; i < 40; i++)
		if (chdir("..") < 0)
			return -1;
	return access("srv/t/host-marker", F_OK);
}

static int out_of_share(void) { return climb_out_of("/share"); }

/* chroot(2): the working directory stays where it was, above the new root. */
static int out_of_chroot(void)
{
	mkdir("/run/jail", 0700);
	return chdir("/") < 0 || chroot("/run/jail") < 0 ? -1 : climb_out_of(".");
}

static int work_directory(void)
{
	static const char *const places[] = {"/opt/subhost/victim/work", "/opt/subhost/all/work"};
	for (int i = 0; i < 2; i++)
		if (access(places[i], F_OK) == 0)
			return 0;
	return no(ENOENT);
}

/* ---- the machine ---- */

static int load_module(void) { return (int)syscall(SYS_finit_module, -1, "", 0); }
static int delete_module(void) { return (int)syscall(SYS_delete_module, "no-such-module", O_NONBLOCK); }
static int kexec(void) { return (int)syscall(SYS_kexec_load, 0, 0, NULL, ~0ul); }
static int reboot_host(void) { return (int)syscall(SYS_reboot, 0, 0, 0, NULL); }
static int set_clock(void)
{
	struct timex now = {0};
	if (adjtimex(&now) < 0)
		return -1;
	struct timex same = {.modes = ADJ_TICK, .tick = now.tick};
	return adjtimex(&same) < 0 ? -1 : 0;
}
static int read_log(void)
{
	char text[16];
	return klogctl(3 /* SYSLOG_ACTION_READ_ALL */, text, sizeof text) < 0 ? -1 : 0;
}
static int open_log(void) { return open("/proc/kmsg", O_RDONLY | O_NONBLOCK); }
static int write_log(void) { return open("/dev/kmsg", O_WRONLY); }
static int raise_limit(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_max++;
	return setrlimit(RLIMIT_NOFILE, &limit);
}
static int raise_priority(void) { return setpriority(PRIO_PROCESS, 0, -5); }
static int swap_on(void) { return (int)syscall(SYS_swapon, "/no-such-file", 0); }
static int account(void) { return (int)syscall(SYS_acct, "/no-such-file"); }
static int host_name(void) { return sethostname("forged", 6); }
#ifdef SYS_ioperm
static int ports(void) { return (int)syscall(SYS_ioperm, 0x80, 1, 1); }
#else
static int ports(void) { return no(EPERM); }
#endif
static int bpf_map(void)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
static int perf_event(void)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_DUMMY};
	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static int fault_handler(void) { return (int)syscall(SYS_userfaultfd, 0); }
static int io_rings(void) { return (int)syscall(SYS_io_uring_setup, 0, NULL); }

/* ---- the network ---- */

static int abstract_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0overlay-boot-attack"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	return connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 20);
}

/* Asks for a link of the network namespace that has number `id` here, -1: of our own; 0, or -1 with errno. */
static int ask_for_link(int type, int id, const char *name)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		char attributes[64];
	} request = {.head = {.nlmsg_type = (unsigned short)type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
	char *end = request.attributes;
	if (id >= 0) {
		struct rtattr target = {.rta_len = 8, .rta_type = IFLA_TARGET_NETNSID};
		memcpy(end, &target, 4), memcpy(end + 4, &id, 4);
		end += 8;
	}
	struct rtattr named = {.rta_len = (unsigned short)(4 + strlen(name) + 1), .rta_type = IFLA_IFNAME};
	memcpy(end, &named, 4), strcpy(end + 4, name);
	end += RTA_ALIGN(named.rta_len);
	request.head.nlmsg_len = (unsigned)(end - (char *)&request);
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (send(fd, &request, request.head.nlmsg_len, 0) < 0)
		return -1;
	union {
		struct nlmsghdr head;
		char bytes[16384];
	} answer;
	ssize_t n = recv(fd, &answer, sizeof answer, 0);
	close(fd);
	if (n < (ssize_t)sizeof answer.head)
		return -1;
	if (answer.head.nlmsg_type != NLMSG_ERROR)
		return 0;
	int err = -((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
	return err ? no(err) : 0;
}

static int any_namespace(int type)
{
	int worst = EINVAL;
	ask_for_link(RTM_GETLINK, -1, "eth0"); /* with the answer the host's namespace, of the other end, has a number */
	for (int id = 0; id < 4; id++) {
		if (ask_for_link(type, id, host_link) == 0)
			return 0;
		if (errno == EPERM || errno == EACCES)
			worst = errno;
	}
	return no(worst);
}

static int see_host_link(void) { return any_namespace(RTM_GETLINK); }
static int delete_host_link(void) { return any_namespace(RTM_DELLINK); }

/* Control: what its own network allows it still may. */
static int own_link(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq request = {.ifr_name = "lo"};
	if (ioctl(fd, 0x8913 /* SIOCGIFFLAGS */, &request) < 0)
		return -1;
	return ioctl(fd, 0x8914 /* SIOCSIFFLAGS */, &request);
}

static const struct {
	const char *name;
	int (*try)(void);
} attacks[] = {
#define A(name) {#name, name}
	A(make_node), A(make_node_in_dev), A(make_node_in_run), A(make_node_in_shm), A(make_node_in_share),
	A(read_node_of_layer), A(write_node_of_layer), A(read_node_of_share), A(open_by_handle),
	A(mount_proc), A(mount_sysfs), A(mount_cgroup), A(mount_cgroup2), A(mount_binfmt), A(mount_debugfs), A(mount_disk),
	A(fsopen_proc), A(clone_mount), A(remount_sys), A(remount_root_dev), A(unmask), A(pivot), A(set_trusted),
	A(write_reaper), A(replace_reaper), A(unmount_reaper),
	A(core_pattern), A(modprobe_path), A(overcommit), A(sysrq), A(uevent_helper), A(kernel_sysfs), A(kernel_memory),
	A(enter_mounts), A(enter_network), A(new_mounts), A(new_user),
	A(see_keeper), A(signal_unseen), A(trace_keeper),
	A(by_root), A(by_cwd), A(by_descriptors), A(out_of_share), A(out_of_chroot), A(work_directory),
	A(load_module), A(delete_module), A(kexec), A(reboot_host), A(set_clock), A(read_log), A(open_log), A(write_log),
	A(raise_limit), A(raise_priority), A(swap_on), A(account), A(host_name), A(ports),
	A(bpf_map), A(perf_event), A(fault_handler), A(io_rings),
	A(abstract_socket), A(see_host_link), A(delete_host_link), A(own_link),
};

static int wanted(const char *name, char **names)
{
	if (!*names)
		return 1;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	host_link = argv[1];
	setbuf(stdout, NULL);
	for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
		if (!wanted(attacks[i].name, argv + 2))
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			int result = attacks[i].try();
			printf("%s %s\n", attacks[i].name, result < 0 ? strerrorname_np(errno) : "done");
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		if (status != 0)
			printf("%s crashed\n", attacks[i].name);
	}
	return 0;
}
