/* What the keeper makes on the host: its lock, the log, the control group, the namespaces and the network one's name. */
#include "wire.h"
#include <linux/sched.h>
#include <stdio.h> /* renameat(2) is declared there */
#include <sys/file.h>
#include <sys/xattr.h>

int lock_directory(const char *dir)
{
	for (int tries = 0; tries < 100; tries++) {
		struct stat mine, there;
		/* Whoever could open it could lock it; what others may read in it has a name that they know. */
		if (mkdir(dir, 0711) < 0 && errno != EEXIST)
			break;
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue; /* its owner removed it just now */
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			break; /* whoever gives up ends: no need to close */
		/* The lock is only worth something on the directory that has the name now. */
		if (fstat(fd, &mine) == 0 && stat(dir, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
			return fd;
		close(fd);
	}
	return -1;
}

int open_log(const char *path)
{
	char dir_path[PATH_BYTES], old[NAME_MAX + 3];
	const char *base = strrchr(path, '/');
	if (!base || strlen(path) >= sizeof dir_path || strlen(base + 1) > NAME_MAX - 2) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(dir_path, path, (size_t)(base - path) + 1);
	dir_path[base - path + 1] = '\0';
	int dir = sys_openat2(AT_FDCWD, dir_path, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
	if (dir < 0)
		return -1;
	base++;
	struct stat st;
	int fd = -1;
	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISREG(st.st_mode)) {
			errno = S_ISLNK(st.st_mode) ? ELOOP : EEXIST;
			goto out;
		}
		strcpy(old, base);
		strcat(old, ".1");
		/* An empty one is nobody's log, but may be somebody's file, and readable by more. */
		if (st.st_size ? renameat(dir, base, dir, old) : unlinkat(dir, base, 0))
			goto out;
	}
	fd = openat(dir, base, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
out:
	close(dir);
	return fd;
}

void find_cgroup(const char *mount, const char *name, struct text *path)
{
	char own[PATH_BYTES], delegated[4];
	text_str(path, mount);
	if (mount[0] && read_file("/proc/self/cgroup", own, sizeof own) > 0) {
		/* A line for each hierarchy, HIERARCHY:CONTROLLERS:PATH; the v2 one has number 0. cgroups(7) */
		char *line = own;
		while (line && strncmp(line, "0::", 3) != 0)
			line = (line = strchr(line, '\n')) ? line + 1 : NULL;
		if (line) {
			*strchrnul(line, '\n') = '\0';
			struct text base = *path;
			text_str(&base, line + 3);
			text_end(&base);
			if (getxattr(base.buf, "trusted.delegate", delegated, sizeof delegated) > 0 && delegated[0] == '1')
				*path = base;
		}
	}
	if (mount[0]) {
		text_str(path, "/overlay-boot/");
		text_str(path, name);
	}
}

int make_cgroup(char *path)
{
	char *last = strrchr(path, '/');
	int tries = 100;
	/* ENOENT: the end of another subhost removed the common one meanwhile */
	do {
		*last = '\0';
		mkdir(path, 0755);
		*last = '/';
	} while (mkdir(path, 0755) < 0 && errno == ENOENT && --tries);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool name_netns(const char *path, pid_t pid)
{
	char dir[PATH_BYTES];
	struct text ns = {0};
	strncpy(dir, path, sizeof dir - 1);
	dir[sizeof dir - 1] = '\0';
	*strrchr(dir, '/') = '\0';
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return false;
	if (sys_mount("", dir, "none", MS_SHARED | MS_REC, NULL) < 0 &&
	    (errno != EINVAL || sys_mount(dir, dir, "none", MS_BIND | MS_REC, NULL) < 0 ||
	     sys_mount("", dir, "none", MS_SHARED | MS_REC, NULL) < 0))
		return false;
	int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	close(fd);
	text_str(&ns, "/proc/");
	text_num(&ns, pid);
	text_str(&ns, "/ns/net");
	text_end(&ns);
	return sys_mount(ns.buf, path, "none", MS_BIND, NULL) == 0;
}

static pid_t clone_into(uint64_t flags, int cgroup)
{
	struct clone_args args = {
		.flags = flags | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = SIGCHLD,
		.cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
	};
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static int open_of(pid_t pid, const char *file, int flags)
{
	struct text path = {0};
	text_str(&path, "/proc/");
	text_num(&path, pid);
	text_str(&path, file);
	return open(text_end(&path), flags | O_CLOEXEC);
}

/*
 * The ids that this user namespace has, as they are. The first is an extent of its own, so that the map does not read
 * as the host's: whoever looks (pam_loginuid, systemd) shall see that this is not the initial user namespace.
 */
static bool map_ids(pid_t pid, const char *file)
{
	char own[1024], path[32] = "/proc/self", *rest = own, *word;
	struct text map = {0};
	long long first = 0;
	if (read_file(strcat(path, file), own, sizeof own) < 0)
		return false;
	for (int column = 0; (word = strsep(&rest, " \n"));) {
		if (!*word)
			continue;
		long long number = parse_num(word);
		if (column == 0)
			first = number;
		if (column == 2)
			for (int part = !map.len; part >= 0 && number; part--) {
				long long count = part ? 1 : number;
				for (int i = 0; i < 3; i++) {
					text_num(&map, i < 2 ? first : count);
					text_str(&map, i < 2 ? " " : "\n");
				}
				first += count, number -= count;
			}
		column = (column + 1) % 3;
	}
	int fd = open_of(pid, file, O_WRONLY);
	bool done = fd >= 0 && write_all(fd, map.buf, map.len);
	close(fd);
	return done;
}

/*
 * Moves this process to a new network namespace, which belongs to a new user namespace: *user. A process is needed to
 * make them, and it ends here. Returns the network namespace before, or -1.
 */
static int move_to_owned_netns(int *user)
{
	pid_t self = getpid(), maker = clone_into(CLONE_NEWUSER | CLONE_NEWNET, -1);
	if (maker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		while (getppid() == self)
			pause();
		_exit(0);
	}
	if (maker < 0)
		return -1;
	int home = open_of(self, "/ns/net", O_RDONLY), net = open_of(maker, "/ns/net", O_RDONLY);
	*user = open_of(maker, "/ns/user", O_RDONLY);
	bool done = home >= 0 && *user >= 0 && map_ids(maker, "/uid_map") && map_ids(maker, "/gid_map") &&
		    setns(net, CLONE_NEWNET) == 0;
	int err = errno;
	close(net);
	kill(maker, SIGKILL);
	waitpid(maker, NULL, 0);
	errno = err;
	return done ? home : -1;
}

pid_t clone_namespaces(int cgroup, int *user)
{
	const uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
	if (!user)
		return clone_into(flags | CLONE_NEWNET, cgroup);
	int home = move_to_owned_netns(user);
	if (home < 0)
		return -1;
	pid_t pid = clone_into(flags, cgroup);
	if (pid == 0)
		return 0;
	int err = errno;
	if (setns(home, CLONE_NEWNET) < 0)
		_exit(1); /* what it takes back, it would take from the subhost */
	close(home);
	errno = err;
	return pid;
}
