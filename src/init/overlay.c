/* Overlays and bind mounts, by the mount API that takes descriptors (Linux 5.2). */
#include "mounts.h"
#include <sys/xattr.h>

#define FSCONFIG_STRING_BYTES 256 /* with its NUL; fs/fsopen.c */

/* What the kernel wrote about the failure, without its "e overlay: " (fsopen(2) "Message retrieval interface"). */
static void read_message(struct overlay *o, int fs)
{
	int err = errno;
	ssize_t n = read(fs, o->message, sizeof o->message - 1);
	if (n > 0) {
		if (o->message[n - 1] == '\n')
			n--;
		o->message[n] = '\0';
		char *text = n > 2 && o->message[1] == ' ' ? o->message + 2 : o->message;
		o->why = strncmp(text, "overlay: ", 9) == 0 ? text + 9 : text;
	}
	errno = err;
}

static bool begin(struct overlay *o)
{
	if (o->fs)
		return true;
	int fd = sys_fsopen("overlay", 0);
	if (fd < 0) {
		o->why = errno == ENODEV ? "the kernel has no overlayfs: modprobe overlay" : NULL;
		return false;
	}
	o->fs = fd + 1;
	return sys_fsconfig(fd, FSCONFIG_SET_STRING, "source", "overlay-boot", 0) == 0;
}

/*
 * The old form. Options are read with the working directory in /proc/self/fd, where a descriptor's number is
 * a path: short, and without any character that the text would need to escape.
 */
static bool old_option(struct overlay *o, const char *before, const char *directory)
{
	struct text number = {0};
	int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	o->last = fd;
	text_num(&number, fd);
	if (strlen(o->options) + strlen(before) + number.len + sizeof ",userxattr" > sizeof o->options) {
		o->why = "too many layers for a kernel before 6.7";
		errno = E2BIG;
		return false;
	}
	strcat(o->options, before);
	strcat(o->options, text_end(&number));
	return true;
}

static bool old_mount(struct overlay *o, const char *upper, const char *work, const char *live, unsigned attrs)
{
	if (*upper && (!old_option(o, ",upperdir=", upper) || !old_option(o, ",workdir=", work)))
		return false;
	if (o->user_xattrs)
		strcat(o->options, ",userxattr"); /* room for it is left by old_option() */
	if (chdir("/proc/self/fd") < 0)
		return false;
	bool done = sys_mount("overlay-boot", live, "overlay", attrs & MOUNT_ATTR_NODEV ? MS_NODEV : 0, o->options) == 0;
	int err = errno;
	for (int fd = o->fs - 1; fd <= o->last; fd++) /* the context, and the layers, opened one after the other */
		close(fd);
	errno = err;
	return chdir("/") == 0 && done;
}

/*
 * A long path cannot be given as a string, and a backslash is an escape in some options and none in others: such
 * a directory is given by descriptor, which overlayfs takes since Linux 6.13.
 */
static bool set_directory(struct overlay *o, const char *key, const char *path)
{
	if (strlen(path) < FSCONFIG_STRING_BYTES && !strchr(path, '\\'))
		return sys_fsconfig(o->fs - 1, FSCONFIG_SET_STRING, key, path, 0) == 0;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool done = sys_fsconfig(o->fs - 1, FSCONFIG_SET_FD, key, NULL, fd) == 0;
	int err = errno;
	close(fd);
	errno = err;
	return done;
}

bool overlay_lower(struct overlay *o, const char *layer)
{
	if (!begin(o))
		return false;
	if (o->old)
		return old_option(o, ":", layer);
	/* lowerdir+ (Linux 6.7) takes one layer as it is: no escapes, no page of options to share. */
	if (set_directory(o, "lowerdir+", layer)) {
		o->begun = true;
		return true;
	}
	read_message(o, o->fs - 1);
	/* Known by the kernel's words; before 6.5, where overlayfs has none of its own, by their absence. */
	bool unknown = errno == EINVAL && (!o->why || strncmp(o->why, "Unknown parameter", 17) == 0);
	if (unknown && o->begun)
		o->why = "a path that long, or with a backslash, needs Linux 6.13";
	if (!unknown || o->begun)
		return false;
	o->why = NULL;
	o->old = true;
	return old_option(o, "lowerdir=", layer);
}

/*
 * Whiteouts and the like are marked by trusted.* or by user.* attributes, and an overlay sees only one kind: an
 * upper that was written with the other would show what was deleted. So it keeps which one it has.
 */
static bool same_marks(struct overlay *o, const char *upper)
{
	static const char name[] = "trusted.overlay-boot.marks";
	const char *wanted = o->user_xattrs ? "user" : "trusted";
	char have[8];
	ssize_t n = getxattr(upper, name, have, sizeof have);
	if (n < 0) {
		setxattr(upper, name, wanted, strlen(wanted), 0); /* without attributes the overlay fails by itself */
		return true;
	}
	if ((size_t)n == strlen(wanted) && memcmp(have, wanted, (size_t)n) == 0)
		return true;
	o->why = o->user_xattrs ? "UPPER was written on layers with trusted.* marks, these have user.*: give it a new UPPER"
				: "UPPER was written on layers with user.* marks, these have trusted.*: give it a new UPPER";
	errno = EINVAL;
	return false;
}

bool overlay_mount(struct overlay *o, const char *upper, const char *work, const char *live, unsigned attrs)
{
	if (*upper && !same_marks(o, upper))
		return false;
	if (o->old)
		return old_mount(o, upper, work, live, attrs);
	int fs = o->fs - 1;
	bool done = (!o->user_xattrs || sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) == 0) &&
		    (!*upper || (set_directory(o, "upperdir", upper) && set_directory(o, "workdir", work))) &&
		    sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0;
	int mount = done ? sys_fsmount(fs, 0, attrs) : -1;
	done = mount >= 0 && sys_move_mount(mount, "", AT_FDCWD, live, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) == 0;
	if (!done)
		read_message(o, fs);
	int err = errno;
	if (mount >= 0)
		close(mount);
	close(fs);
	o->fs = 0;
	errno = err;
	return done;
}

int bind_tree(const char *source, unsigned attrs, unsigned recursive)
{
	int tree = sys_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | recursive);
	if (tree < 0)
		return -1;
	struct mount_attr attr = {.attr_set = attrs, .propagation = MS_PRIVATE};
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &attr) == 0)
		return tree;
	int err = errno;
	close(tree);
	errno = err;
	return -1;
}

bool attach_tree(int tree, int target)
{
	bool done = tree >= 0 && target >= 0 &&
		    sys_move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
	int err = errno;
	if (tree >= 0)
		close(tree);
	if (target >= 0)
		close(target);
	errno = err;
	return done;
}

bool bind_mount(const char *source, const char *target, unsigned attrs, unsigned recursive)
{
	int tree = bind_tree(source, attrs, recursive);
	return tree >= 0 && attach_tree(tree, open(target, O_PATH | O_CLOEXEC));
}

bool share_mount(int root, const char *source, const char *inside, unsigned attrs, const char **why)
{
	struct stat st;
	*why = NULL;
	int tree = bind_tree(source, attrs, 0);
	if (tree < 0 || fstat(tree, &st) < 0)
		return false;
	int target = open_target(root, inside, S_ISDIR(st.st_mode), true, why);
	return attach_tree(tree, target);
}

/* Writes a new file through its descriptor: the path is not walked a second time. */
static bool fill(int fd, const char *content)
{
	struct text self = {0};
	text_str(&self, "/proc/self/fd/");
	text_num(&self, fd);
	int out = open(text_end(&self), O_WRONLY | O_CLOEXEC);
	bool done = out >= 0 && write_all(out, content, strlen(content));
	int err = errno;
	if (out >= 0)
		close(out);
	errno = err;
	return done;
}

bool seed_file(int dir, const char *path, const char *content, const char **why)
{
	int there = sys_openat2(dir, path, O_PATH | O_NOFOLLOW, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (there >= 0) {
		struct stat st;
		bool link = fstat(there, &st) == 0 && S_ISLNK(st.st_mode);
		close(there);
		*why = link ? "is a symbolic link in the subhost's root" : NULL;
		errno = ELOOP;
		return !link;
	}
	int fd = open_place(dir, path, false, true, why);
	if (fd < 0)
		/* A root that cannot be written has nothing to bring up by mistake either. */
		return errno == EROFS;
	bool done = fill(fd, content);
	int err = errno;
	close(fd);
	if (!done)
		remove_place(dir, path); /* or the next boot would take it for the owner's own */
	errno = err;
	return done;
}
