/* What every subhost has mounted below its root: /dev, /proc, /sys, /run, the reaper, and what is protected. */
#include "mounts.h"
#include <sys/sysmacros.h>
#include <termios.h>

#define RESOLVE_INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)

struct option {
	const char *key, *value;
};

/* A new file system, not attached anywhere yet. */
static int new_fs(const char *type, const struct option *options, unsigned attrs)
{
	int fs = sys_fsopen(type, 0), mount = -1;
	if (fs < 0)
		return -1;
	bool set = sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", type, 0) == 0; /* what mount(8) shows */
	for (; set && options->key; options++)
		set = sys_fsconfig(fs, FSCONFIG_SET_STRING, options->key, options->value, 0) == 0;
	if (set && sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = sys_fsmount(fs, 0, attrs);
	int err = errno;
	close(fs);
	errno = err;
	return mount;
}

/* Attaches `mount` on the place `path` below `root`, which it makes when it is missing. Keeps `mount` open. */
static bool attach_at(int mount, int root, const char *path, bool directory, const char **why)
{
	if (mount < 0)
		return false;
	int place = open_place(root, path, directory, true, why);
	if (place < 0) {
		if (errno == EROFS && !*why)
			*why = "is missing, and the root is read-only";
		return false;
	}
	int err = 0;
	if (sys_move_mount(mount, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		err = errno;
	close(place);
	errno = err;
	return err == 0;
}

static bool mount_at(int root, const char *path, const char *type, const struct option *options, unsigned attrs, const char **why)
{
	int mount = new_fs(type, options, attrs);
	bool done = attach_at(mount, root, path, true, why);
	int err = errno;
	if (mount >= 0)
		close(mount);
	errno = err;
	return done;
}

static const struct {
	const char *name;
	unsigned major, minor, mode;
} devices[] = {
	{"null", 1, 3, 0666}, {"zero", 1, 5, 0666},    {"full", 1, 7, 0666},
	{"random", 1, 8, 0666}, {"urandom", 1, 9, 0666}, {"tty", 5, 0, 0666},
};

static const struct {
	const char *name, *target;
} links[] = {
	{"ptmx", "pts/ptmx"},         {"fd", "/proc/self/fd"},         {"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},
};

/* A bind mount of `name` in `dir` on itself: the node keeps working when the mount around it turns nodev. */
static bool bind_self(int dir, const char *name)
{
	int tree = sys_open_tree(dir, name, OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW);
	if (tree < 0)
		return false;
	bool done = sys_move_mount(tree, "", dir, name, MOVE_MOUNT_F_EMPTY_PATH) == 0;
	int err = errno;
	close(tree);
	errno = err;
	return done;
}

/* The devices are nodes of this tmpfs, not the host's: a chmod inside changes nothing outside. */
static bool make_devices(int dev, const char **path)
{
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		*path = devices[i].name;
		if (mknodat(dev, *path, S_IFCHR | devices[i].mode, makedev(devices[i].major, devices[i].minor)) < 0 ||
		    fchmodat(dev, *path, devices[i].mode, 0) < 0 || !bind_self(dev, *path))
			return false;
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		*path = links[i].name;
		if (symlinkat(links[i].target, dev, *path) < 0)
			return false;
	}
	return true;
}

/* The first terminal of the subhost's own devpts is its console; the keeper reads what is written there. */
static int make_console(int dev, int pts, int *slave)
{
	int zero = 0, number;
	char name[16];
	int master = openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &zero) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return -1;
	struct text t = {0};
	text_num(&t, number);
	memcpy(name, t.buf, t.len);
	name[t.len] = '\0';
	int place = openat(dev, "console", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	int tree = sys_open_tree(pts, name, OPEN_TREE_CLONE);
	bool done = place >= 0 && tree >= 0 && sys_move_mount(tree, "", dev, "console", MOVE_MOUNT_F_EMPTY_PATH) == 0;
	/* The keeper has it open always: without that, reading the master fails from the first close on. */
	*slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios mode;
	if (*slave >= 0 && tcgetattr(*slave, &mode) == 0) {
		mode.c_oflag &= ~(tcflag_t)OPOST; /* the log has plain newlines */
		mode.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(*slave, TCSANOW, &mode);
	}
	if (place >= 0)
		close(place);
	if (tree >= 0)
		close(tree);
	if (done)
		return master;
	close(master);
	return -1;
}

bool mount_dev(int root, unsigned attrs, int console[2], const char **path, const char **why)
{
	*why = NULL;
	*path = "/dev";
	int pts = -1;
	/* nodev only once its nodes are bound on themselves. */
	int dev = new_fs("tmpfs", (struct option[]){{"mode", "755"}, {"size", "64k"}, {NULL, NULL}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	bool done = attach_at(dev, root, "dev", true, why) && make_devices(dev, path);
	if (done) {
		*path = "/dev/pts";
		pts = new_fs("devpts", (struct option[]){{"mode", "620"}, {"gid", "5"}, {"ptmxmode", "666"}, {NULL, NULL}},
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
		done = attach_at(pts, dev, "pts", true, why);
	}
	if (done) {
		*path = "/dev/console";
		console[0] = make_console(dev, pts, &console[1]);
		done = console[0] >= 0;
	}
	if (done) {
		*path = "/dev/shm";
		done = mount_at(dev, "shm", "tmpfs", (struct option[]){{"mode", "1777"}, {NULL, NULL}},
				MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, why);
	}
	if (done) {
		*path = "/dev/mqueue";
		done = mount_at(dev, "mqueue", "mqueue", (struct option[]){{NULL, NULL}},
				MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, why) ||
		       errno == ENODEV; /* a kernel without POSIX message queues */
	}
	if (done) {
		*path = "/dev";
		struct mount_attr attr = {.attr_set = attrs};
		done = sys_mount_setattr(dev, "", AT_EMPTY_PATH, &attr) == 0;
	}
	int err = errno;
	if (dev >= 0)
		close(dev);
	if (pts >= 0)
		close(pts);
	errno = err;
	return done;
}

bool tmpfs_mount(const char *live, unsigned attrs)
{
	int mount = new_fs("tmpfs", (struct option[]){{"mode", "755"}, {NULL, NULL}}, attrs);
	return mount >= 0 && attach_tree(mount, open(live, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static bool mount_run(int root, const char *size, const char **path, const char **why)
{
	*path = "/run";
	int run = new_fs("tmpfs", (struct option[]){{"mode", "755"}, {"size", size}, {NULL, NULL}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	bool done = attach_at(run, root, "run", true, why);
	if (done) {
		*path = "/run/lock";
		done = mkdirat(run, "lock", 01777) == 0 && fchmodat(run, "lock", 01777, 0) == 0;
	}
	int err = errno;
	if (run >= 0)
		close(run);
	errno = err;
	return done;
}

bool mount_system(int root, const char *which, const char *option, const char **path, const char **why)
{
	static const struct option none[] = {{NULL, NULL}};
	const unsigned plain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	*why = NULL;
	if (strcmp(which, "run") == 0)
		return mount_run(root, option, path, why);
	*path = which[0] == 'p' ? "/proc" : "/sys";
	if (which[0] == 'p')
		return mount_at(root, "proc", "proc", none, plain, why);
	return mount_at(root, "sys", "sysfs", none, plain | (strcmp(option, "ro") == 0 ? MOUNT_ATTR_RDONLY : 0), why);
}

/* Attaches a copy of a mount, private and with these attributes. Closes both. */
static bool attach_private(int tree, int place, uint64_t set, uint64_t clear)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = MS_PRIVATE};
	if (tree >= 0 && sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0) {
		close(tree);
		tree = -1;
	}
	return attach_tree(tree, place);
}

bool protect(int root, const char *how, const char *path)
{
	struct stat st;
	int place = sys_openat2(root, path, O_PATH | O_NOFOLLOW, 0, RESOLVE_INSIDE);
	if (place < 0)
		return errno == ENOENT;
	if (how[0] == 'm') {
		if (fstat(place, &st) == 0 && S_ISDIR(st.st_mode))
			return attach_private(new_fs("tmpfs", (struct option[]){{"mode", "555"}, {"size", "4k"}, {NULL, NULL}}, 0), place,
					      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
		int null = sys_openat2(root, "dev/null", O_PATH | O_NOFOLLOW, 0, RESOLVE_INSIDE);
		bool done = attach_private(null < 0 ? -1 : sys_open_tree(null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH), place, 0, 0);
		if (null >= 0)
			close(null);
		return done;
	}
	bool read_only = how[1] == 'o';
	return attach_private(sys_open_tree(place, "", OPEN_TREE_CLONE | AT_EMPTY_PATH), place, read_only ? MOUNT_ATTR_RDONLY : 0,
			      read_only ? 0 : MOUNT_ATTR_RDONLY);
}

const char *place_reaper(int root, const char *program, const char **why)
{
	/* A read-only root cannot be given the file; then a tmpfs of ours has it. */
	static const char *const places[] = {"/.reaper", "/run/.reaper", "/dev/.reaper"};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		int place = open_place(root, places[i] + 1, false, true, why);
		if (place < 0) {
			if (errno == EROFS)
				continue;
			return NULL;
		}
		struct stat st;
		if (fstat(place, &st) < 0 || !S_ISREG(st.st_mode)) {
			close(place);
			*why = "is no regular file in the subhost's root";
			errno = EINVAL;
			return NULL;
		}
		return attach_private(sys_open_tree(AT_FDCWD, program, OPEN_TREE_CLONE), place,
				      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0) ? places[i] : NULL;
	}
	*why = "no place for the reaper: the root, /run and /dev are read-only";
	return NULL;
}

bool bind_adjtime(int root, const char **why)
{
	struct stat st;
	*why = NULL;
	if (lstat("/etc/adjtime", &st) < 0 || !S_ISREG(st.st_mode))
		return true;
	/* On a regular file only: never made, and a link is left alone. */
	int place = sys_openat2(root, "etc/adjtime", O_PATH | O_NOFOLLOW, 0, RESOLVE_INSIDE);
	if (place < 0)
		return true;
	if (fstat(place, &st) < 0 || !S_ISREG(st.st_mode))
		return close(place) == 0;
	return attach_private(sys_open_tree(AT_FDCWD, "/etc/adjtime", OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW), place,
			      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0);
}
