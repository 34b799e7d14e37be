/*
 * Taking back what a boot made on the host. Used by the keeper at the end of its subhost, by the next boot
 * and by overlay-stop for an instance that died without a keeper. Operations and their arguments:
 *
 *   ifdown PROGRAM IFACE what `ifup` brought up
 *   netns PATH INODE    unmount and remove the name of a network namespace, if it is that one ("0": any)
 *   link NAME ALIAS     wait until the dying namespace has taken its veth along; delete it after 50 ms
 *   cgroup PATH         kill what is in it, remove it
 *   state DIR           remove the record and the lock (last)
 *   lock DIR            remove the directory of the lock, unless a record is in it
 *
 * A thing that is gone already is success.
 */
#include "wire.h"
#include <dirent.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/statfs.h>

#define IFDOWN_MS 10000
#define LINK_GRACE_MS 50

static void leave(struct text *left, const char *what, const char *name, int err)
{
	if (left->len)
		text_str(left, "; ");
	text_str(left, what);
	text_str(left, " ");
	text_str(left, name);
	if (err) {
		text_str(left, ": ");
		text_str(left, strerror(err));
	}
}

static long long now_ms(void)
{
	struct timespec t;
	sys_clock(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void ifdown(const char *program, const char *iface, struct text *left)
{
	pid_t pid = _Fork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0), dup2(null, 1), dup2(null, 2);
		close_from(3);
		char *argv[] = {"ifdown", (char *)(uintptr_t)iface, NULL};
		char *env[] = {"PATH=" DEFAULT_PATH, NULL};
		execve(program, argv, env);
		_exit(127);
	}
	int pidfd = pid > 0 ? sys_pidfd_open(pid) : -1;
	if (pidfd < 0) {
		leave(left, "interface", iface, errno);
		return;
	}
	struct pollfd wait = {.fd = pidfd, .events = POLLIN};
	if (poll(&wait, 1, IFDOWN_MS) == 0) {
		kill(pid, SIGKILL);
		leave(left, "interface", iface, ETIMEDOUT);
	}
	close(pidfd);
	waitpid(pid, NULL, 0);
}

static void remove_netns(const char *path, const char *inode, struct text *left)
{
	struct statfs fs;
	struct stat st;
	if (statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC) {
		bool ours = strcmp(inode, "0") == 0 || (stat(path, &st) == 0 && (long long)st.st_ino == parse_num(inode));
		if (!ours) {
			leave(left, "network namespace of somebody else at", path, 0);
			return;
		}
		if (sys_umount(path, MNT_DETACH) < 0) {
			leave(left, "network namespace", path, errno);
			return;
		}
	}
	if (unlink(path) < 0 && errno != ENOENT)
		leave(left, "network namespace", path, errno);
}

/* Waits for link messages instead of looking again and again. */
static bool wait_until_gone(const char *name)
{
	char alias[256];
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	bool listening = events >= 0 && bind(events, (struct sockaddr *)&address, sizeof address) == 0;
	long long end = now_ms() + LINK_GRACE_MS;
	bool gone;
	while (!(gone = link_alias(name, alias, sizeof alias) == 0)) {
		long long left = end - now_ms();
		if (left <= 0)
			break;
		struct pollfd wait = {.fd = listening ? events : -1, .events = POLLIN};
		char message[8192];
		if (poll(&wait, 1, listening ? (int)left : 1) > 0 && recv(events, message, sizeof message, 0) < 0)
			listening = false; /* ENOBUFS: messages were lost; look again every millisecond */
	}
	if (events >= 0)
		close(events);
	return gone;
}

static void remove_link(const char *name, const char *wanted, struct text *left)
{
	char alias[256];
	if (wait_until_gone(name) || link_alias(name, alias, sizeof alias) == 0)
		return;
	/* Without an alias it is ours too: a boot that was killed between making and marking it. */
	if (alias[0] && strcmp(alias, wanted) != 0)
		leave(left, "link of somebody else", name, 0);
	else if (delete_link(name) < 0)
		leave(left, "link", name, errno);
}

/* The name of a directory in `dir`; false where it has none. */
static bool find_directory(int dir, char *name, size_t size)
{
	_Alignas(struct dirent) char buf[2048];
	for (long n; (n = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0;)
		for (long at = 0; at < n;) {
			const struct dirent *e = (const struct dirent *)(buf + at);
			at += e->d_reclen;
			if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			strncpy(name, e->d_name, size - 1);
			name[size - 1] = '\0';
			return true;
		}
	return false;
}

/* Removes a group below `path` that has none itself: where the hierarchy is mounted inside, groups can be made. */
static bool remove_inner_cgroup(const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	char name[NAME_MAX + 1];
	int above = -1, at = open(path, flags);
	while (at >= 0 && find_directory(at, name, sizeof name)) {
		close(above);
		above = at;
		at = openat(above, name, flags);
	}
	bool removed = above >= 0 && unlinkat(above, name, AT_REMOVEDIR) == 0;
	close(above), close(at);
	return removed;
}

static void remove_cgroup(const char *path, struct text *left)
{
	struct text kill_file = {0};
	text_str(&kill_file, path);
	text_str(&kill_file, "/cgroup.kill"); /* Linux 5.14; processes outside of the pid namespace may have joined */
	int fd = open(text_end(&kill_file), O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		write_all(fd, "1", 1);
		close(fd);
	}
	long long end = now_ms() + 1000;
	/* EBUSY: the last of its processes are not reaped yet, or there is a group below */
	while (rmdir(path) < 0 && errno != ENOENT) {
		if (errno != EBUSY || now_ms() > end) {
			leave(left, "control group", path, errno);
			return;
		}
		if (!remove_inner_cgroup(path))
			poll(NULL, 0, 1);
	}
	char parent[PATH_BYTES];
	strncpy(parent, path, sizeof parent - 1);
	parent[sizeof parent - 1] = '\0';
	*strrchr(parent, '/') = '\0';
	rmdir(parent); /* unless there are others */
}

static void remove_state(const char *dir, struct text *left)
{
	static const char *const files[] = {"state.json.tmp", "pid.tmp", "pid", "stopper", "state.json"};
	int fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		unlinkat(fd, files[i], 0);
	close(fd);
	if (rmdir(dir) < 0 && errno != ENOENT)
		leave(left, "state directory", dir, errno);
}

void run_undo(const char *ops, size_t len, bool keep_record, struct text *left)
{
	size_t at = 0;
	for (const char *op; (op = next_string(ops, len, &at));) {
		const char *first = next_string(ops, len, &at);
		if (!first)
			return;
		if (strcmp(op, "ifdown") == 0 || strcmp(op, "netns") == 0 || strcmp(op, "link") == 0) {
			const char *second = next_string(ops, len, &at);
			if (!second)
				return;
			(op[0] == 'i' ? ifdown : op[0] == 'n' ? remove_netns : remove_link)(first, second, left);
		} else if (strcmp(op, "cgroup") == 0) {
			remove_cgroup(first, left);
		} else if (strcmp(op, "state") == 0 && !keep_record && !left->len) {
			remove_state(first, left);
		} else if (strcmp(op, "lock") == 0) {
			rmdir(first);
		}
	}
}
