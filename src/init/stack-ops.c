/*
 * The pieces that a stack is mounted from: images, writable layers, trees taken from one place and put in
 * another. src/stack/mount-ops.ts decides on their order; child.c has the table.
 */
#include "mounts.h"
#include <linux/loop.h>
#include <sys/file.h>

#define LOOP_TRIES 64
#define DEPTH_MAX 128

/* ---- images ---- */

/* A loop device that clears itself with its last user; the descriptor that keeps it until it is mounted. */
static int attach_loop(const char *image, uint64_t offset, uint64_t size, bool read_only, struct text *device)
{
	int file = open(image, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	int control = file < 0 ? -1 : open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int loop = -1, err = 0;
	for (int tries = 0; control >= 0 && loop < 0 && tries < LOOP_TRIES; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			break;
		device->len = 0;
		text_str(device, "/dev/loop");
		text_num(device, number);
		loop = open(text_end(device), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (loop < 0)
			break;
		struct loop_config config = {
			.fd = (uint32_t)file,
			.info = {.lo_offset = offset, .lo_sizelimit = size,
				 .lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0)},
		};
		if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			break;
		err = errno;
		close(loop);
		loop = -1;
		if (err != EBUSY) /* somebody else was quicker */
			break;
	}
	err = loop < 0 ? errno : 0;
	if (file >= 0)
		close(file);
	if (control >= 0)
		close(control);
	errno = err;
	return loop;
}

/* Without it a file system that was not unmounted would be replayed: an image used read-only is not written. */
static bool wants_norecovery(const char *type)
{
	return strcmp(type, "ext4") == 0 || strcmp(type, "ext3") == 0 || strcmp(type, "xfs") == 0;
}

static int mount_device(const char *device, const char *type, bool read_only, unsigned attrs)
{
	int fs = sys_fsopen(type, 0), mount = -1;
	if (fs < 0)
		return -1;
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) == 0 &&
	    (!read_only || sys_fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) == 0) &&
	    (!read_only || !wants_norecovery(type) || sys_fsconfig(fs, FSCONFIG_SET_FLAG, "norecovery", NULL, 0) == 0) &&
	    sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = sys_fsmount(fs, 0, attrs | (read_only ? MOUNT_ATTR_RDONLY : 0));
	int err = errno;
	close(fs);
	errno = err;
	return mount;
}

bool image_mount(const struct image *image, const char *at, unsigned attrs)
{
	struct stat st;
	struct text device = {0};
	int loop = -1;
	if (stat(image->path, &st) < 0 || (mkdir(at, 0755) < 0 && errno != EEXIST))
		return false;
	if (S_ISBLK(st.st_mode) && !image->offset && !image->size)
		text_str(&device, image->path);
	else if ((loop = attach_loop(image->path, image->offset, image->size, image->read_only, &device)) < 0)
		return false;
	int mount = mount_device(text_end(&device), image->type, image->read_only, attrs);
	bool done = mount >= 0 && sys_move_mount(mount, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) == 0;
	int err = errno;
	if (mount >= 0)
		close(mount);
	if (loop >= 0)
		close(loop);
	errno = err;
	return done;
}

/* ---- the writable layer ---- */

struct entry { /* getdents64(2) */
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

static bool empty(int dir, int depth);

static bool remove_entry(int dir, const char *name, int depth)
{
	if (unlinkat(dir, name, 0) == 0)
		return true;
	if (errno != EISDIR || depth == DEPTH_MAX)
		return false;
	int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool done = sub >= 0 && empty(sub, depth + 1);
	if (sub >= 0)
		close(sub);
	return done && unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

static bool empty(int dir, int depth)
{
	_Alignas(struct entry) char buf[2048];
	long n = 0;
	bool removed;
	do { /* again from the start for as long as something is found: what is removed moves the rest */
		removed = false;
		if (lseek(dir, 0, SEEK_SET) < 0)
			return false;
		while ((n = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0)
			for (long at = 0; at < n;) {
				struct entry *e = (struct entry *)(buf + at);
				at += e->size;
				if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
					continue;
				if (!remove_entry(dir, e->name, depth))
					return false;
				removed = true;
			}
	} while (n == 0 && removed);
	return n == 0;
}

/* Blanks, commas and the like are octal in mountinfo: proc_pid_mountinfo(5). */
static void decode_octal(char *text)
{
	char *to = text;
	for (; *text; text++) {
		*to = *text;
		if (*text == '\\' && text[1] && text[2] && text[3]) {
			*to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		}
		to++;
	}
	*to = '\0';
}

/* Is it an overlay's work directory already? */
static bool is_mounted(const struct stat *work, int mounts)
{
	static const char option[] = "workdir=";
	char buf[4096], path[2 * PATH_BYTES];
	size_t matched = 0, len = 0;
	struct stat st;
	ssize_t n;
	while ((n = read(mounts, buf, sizeof buf)) > 0)
		for (const char *p = buf; p < buf + n; p++) {
			if (matched < sizeof option - 1) {
				matched = *p == option[matched] ? matched + 1 : *p == option[0];
			} else if (*p != ',' && *p != ' ' && *p != '\n') {
				if (len < sizeof path - 1)
					path[len++] = *p;
			} else {
				path[len] = '\0';
				decode_octal(path);
				if (stat(path, &st) == 0 && st.st_dev == work->st_dev && st.st_ino == work->st_ino)
					return true;
				matched = len = 0;
			}
		}
	return false;
}

bool lock_work(int work, int mounts, const char **why)
{
	struct stat st;
	*why = NULL;
	if (flock(work, LOCK_EX | LOCK_NB) < 0 || fstat(work, &st) < 0) {
		*why = errno == EWOULDBLOCK ? "another root has it mounted" : NULL;
		return false;
	}
	/* Only now: who mounts it holds the lock while doing so. */
	if (is_mounted(&st, mounts)) {
		*why = "the host has it mounted";
		errno = EBUSY;
		return false;
	}
	return true;
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The directory that the path's last component is in. */
static int parent_of(const char *path)
{
	char parent[PATH_BYTES];
	size_t len = (size_t)(last_name(path) - path);
	if (len == 0 || len >= sizeof parent)
		return -1;
	memcpy(parent, path, len);
	parent[len] = '\0';
	return open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The directory `path`, its last component no link; *made tells whether it is new, *beside is what it is in. */
static int own_directory(const char *path, bool *made, int *beside)
{
	*made = mkdir(path, 0755) == 0;
	if (!*made && errno != EEXIST)
		return -1;
	*beside = *made ? parent_of(path) : -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int prepare_writable(const char *upper, const char *work, int mounts, struct made *made, const char **path,
		     const char **why)
{
	*why = NULL;
	*path = upper;
	int dir = own_directory(upper, &made->upper, &made->beside_upper);
	if (dir >= 0) {
		made->inside_upper = dir + 1;
		*path = work;
		dir = own_directory(work, &made->work, &made->beside_work);
	}
	if (dir < 0) {
		*why = errno == ELOOP || errno == ENOTDIR ? "is no directory of its own" : NULL;
		return -1;
	}
	if (!lock_work(dir, mounts, why) || !empty(dir, 0)) {
		int err = errno;
		close(dir);
		if (*why) /* it is somebody else's by now */
			made->upper = made->work = false;
		errno = err;
		return -1;
	}
	made->inside_work = dir;
	return dir;
}

void take_back_writable(const struct made *made, const char *upper, const char *work)
{
	if (made->work)
		remove_entry(made->beside_work, last_name(work), 0);
	else if (made->inside_work > 0)
		empty(made->inside_work, 0);
	if (made->upper)
		remove_entry(made->beside_upper, last_name(upper), 0);
}
