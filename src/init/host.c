/* What the keeper makes on the host: the log, the control group, the namespaces and the network one's name. */
#include "wire.h"
#include <linux/sched.h>
#include <stdio.h> /* renameat(2) is declared there */
#include <sys/xattr.h>

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
		if (st.st_size > 0 && renameat(dir, base, dir, old) < 0)
			goto out;
	}
	fd = openat(dir, base, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640);
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_APPEND);
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

pid_t clone_namespaces(int cgroup)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP |
			 (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = SIGCHLD,
		.cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
	};
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}
