/* Operations of the child that make the subhost's root: layers, images, mounts on them. */
#include "child.h"

bool op_devices_allowed(const char *const *a)
{
	(void)a;
	ops.devices_allowed = true;
	return true;
}

bool op_worklock(const char *const *a)
{
	int fd = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail("open WORK", a[0], errno, NULL);
	const char *why;
	if (!lock_work(fd, ops.ends.mounts, &why))
		return fail("lock WORK", a[0], errno, why);
	hold("work", fd);
	return true;
}

bool op_lower(const char *const *a)
{
	return overlay_lower(&ops.overlay, a[0]) || fail("add the layer", a[0], errno, ops.overlay.why);
}

bool op_user_xattrs(const char *const *a)
{
	(void)a;
	ops.overlay.user_xattrs = true;
	return true;
}

bool op_overlay(const char *const *a)
{
	return overlay_mount(&ops.overlay, a[1], a[2], a[0], attrs(0)) ||
	       fail("mount the overlay on", a[0], errno, ops.overlay.why);
}

static unsigned mode_attrs(const char *mode)
{
	return attrs(strcmp(mode, "ro") == 0 ? MOUNT_ATTR_RDONLY : 0);
}

bool op_bind(const char *const *a)
{
	return bind_mount(a[0], a[1], mode_attrs(a[2]), 0) || fail("bind mount the root on", a[1], errno, NULL);
}

/* LIVE is the root as it is, with what is mounted below it; a mount of its own it must be for the pivot. */
bool op_self(const char *const *a)
{
	return bind_mount(a[0], a[0], attrs(0), AT_RECURSIVE) || fail("make a mount of", a[0], errno, NULL);
}

bool op_root(const char *const *a)
{
	ops.root = open(a[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	remember_copies(ops.made.inside_upper - 1, ops.root);
	return ops.root >= 0 || fail("open the root", a[0], errno, NULL);
}

bool op_writable(const char *const *a)
{
	const char *path, *why;
	strncpy(ops.made_upper, a[0], sizeof ops.made_upper - 1);
	strncpy(ops.made_work, a[1], sizeof ops.made_work - 1);
	int work = prepare_writable(a[0], a[1], ops.ends.mounts, &ops.made, &path, &why);
	if (work < 0)
		return fail("prepare", path, errno, why);
	hold("work", work);
	return true;
}

bool op_tmpfs(const char *const *a)
{
	return tmpfs_mount(a[0], attrs(0)) || fail("mount a tmpfs on", a[0], errno, NULL);
}

bool op_directory(const char *const *a)
{
	return mkdir(a[0], 0755) == 0 || errno == EEXIST || fail("make", a[0], errno, NULL);
}

bool op_directory_or_empty(const char *const *a)
{
	struct stat st;
	if (lstat(a[0], &st) < 0)
		return errno == ENOENT ? op_directory(a + 1) : fail("use", a[0], errno, NULL);
	if (!S_ISDIR(st.st_mode))
		return fail("use", a[0], ENOTDIR, "it has to be a directory of its own");
	return symlink(a[0], a[1]) == 0 || fail("make", a[1], errno, NULL);
}

bool op_image(const char *const *a)
{
	struct image image = {
		.path = a[0],
		.offset = (uint64_t)parse_num(a[1]),
		.size = (uint64_t)parse_num(a[2]),
		.type = a[3],
		.read_only = strcmp(a[4], "ro") == 0,
	};
	return image_mount(&image, a[5], attrs(0)) || fail("mount the image", a[0], errno, errno == ENODEV ? "the kernel does not know its file system" : NULL);
}

bool op_take(const char *const *a)
{
	if (ops.n_taken == TAKEN_MAX)
		return fail("take", a[0], E2BIG, "too many binds");
	struct stat st;
	int tree = bind_tree(a[0], mode_attrs(a[1]), AT_SYMLINK_NOFOLLOW);
	ops.taken[ops.n_taken++] = tree;
	if (tree < 0 || fstat(tree, &st) < 0)
		return fail("bind", a[0], errno, NULL);
	/* usr of layers that are images: what the link leads to would be the host's. */
	return !S_ISLNK(st.st_mode) || fail("bind", a[0], ELOOP, "it is a symbolic link");
}

bool op_put(const char *const *a)
{
	struct stat st;
	const char *why = NULL;
	long long number = parse_num(a[0]);
	if (number < 0 || number >= ops.n_taken)
		return fail("put what was not taken at", a[1], 0, NULL);
	int tree = ops.taken[number];
	if (fstat(tree, &st) < 0)
		return fail("bind at", a[1], errno, NULL);
	int target = open_target(ops.root, a[1], S_ISDIR(st.st_mode), true, &why);
	if (target < 0 && errno == EROFS && !why)
		why = "the mount point is missing, and the root is read-only";
	return attach_tree(tree, target) || fail("bind at", a[1], errno, why);
}

bool op_seal(const char *const *a)
{
	(void)a;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	return sys_mount_setattr(ops.root, "", AT_EMPTY_PATH, &attr) == 0 || fail("make the root read-only", "", errno, NULL);
}
