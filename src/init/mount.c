/* Mounting and unmounting for the host: the same operations as for a subhost, in another frame. */
#include "wire.h"
#include <sys/file.h>

#define MOUNTED_ALREADY 3
#define MOUNT_POINT_GONE 4

/* Puts what was assembled, whole, on a directory of the mount namespace `host`. */
static bool attach(int host, int where, const char *path)
{
	int tree = sys_open_tree(operations_root(), "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0 || setns(host, CLONE_NEWNS) < 0)
		return !complain("take the mounted tree", path, errno);
	if (sys_move_mount(tree, "", where, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return !complain("attach at", path, errno);
	return true;
}

/* Was the directory removed since it was opened? */
static bool is_gone(int directory)
{
	struct stat st;
	return fstat(directory, &st) == 0 && st.st_nlink == 0;
}

/*
 * Mounts a stack for the host: assembled in a mount namespace of its own, where nothing is seen of it until
 * it is whole, and where it goes away with this process if anything fails; then attached at once.
 *
 * usage: init mount WHERE SIZE [LOCK] < OPERATIONS
 *
 * SIZE is that of the operations in bytes: of a plan that Node did not live to write to its end nothing is done.
 * With LOCK, a directory, only one of several at once mounts; the exit status is 3 where WHERE was one already,
 * and 4 where WHERE is not there: somebody else has just taken it away.
 */
int mount_main(int argc, char **argv)
{
	static char payload[2 * FRAME_BYTES_MAX + FRAME_BYTES_MAX / 4]; /* 500 layers with the longest paths */
	size_t len = 0;
	ssize_t n;
	if (argc != 2 && argc != 3)
		return complain("usage: init", "mount WHERE SIZE [LOCK]", 0);
	while (len < sizeof payload - 1 && (n = read(STDIN_FILENO, payload + len, sizeof payload - 1 - len)) > 0)
		len += (size_t)n;
	if ((long long)len != parse_num(argv[1]))
		return complain("the plan is not whole", NULL, 0);
	if (argc == 3) {
		int lock = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* held until this process ends */
		if (lock < 0 || flock(lock, LOCK_EX) < 0)
			return complain("lock", argv[2], errno);
	}
	struct statx_head at = {0};
	int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int where = open(argv[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (where < 0 && errno == ENOENT)
		return MOUNT_POINT_GONE;
	if (host < 0 || where < 0 || mounts < 0 || sys_statx(where, 0, &at) < 0)
		return complain("look at", argv[0], errno);
	if (argc == 3 && at.attributes & STATX_IS_MOUNT_ROOT)
		return MOUNTED_ALREADY;
	if (unshare(CLONE_NEWNS) < 0 || sys_mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return complain("make a mount namespace", NULL, errno);
	begin_operations((struct child_ends){.pair = -1, .log = -1, .report = -1, .mounts = mounts});
	remember_places();
	if (run_operations(payload, len) && attach(host, where, argv[0]))
		return 0;
	/* Mount points can be removed from where nothing is mounted on them: unlink(2), EBUSY. */
	if (setns(host, CLONE_NEWNS) < 0)
		return complain("leave the mount namespace", NULL, errno);
	take_back_operations();
	return is_gone(where) ? MOUNT_POINT_GONE : 1;
}

/*
 * Takes mounts away, in the order given: the last mounted first.
 *
 * usage: init umount PATH...
 */
int umount_main(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (sys_umount(argv[i], UMOUNT_NOFOLLOW) < 0)
			return complain("umount", argv[i], errno);
	return 0;
}
