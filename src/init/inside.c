/* Resolving inside a root whose owner may have prepared it with links. */
#include "init.h"

#define REMEMBERED_MAX 128

/* What was made, and where, for who takes it back; only where that was asked for. */
static struct {
	int dir;
	bool directory;
	char name[PATH_BYTES];
} remembered[REMEMBERED_MAX];
static int n_remembered = -1; /* nothing is remembered */
static int overlay_upper = -1, overlay_root;

void remember_places(void)
{
	n_remembered = 0;
}

void remember_copies(int upper, int root)
{
	overlay_upper = upper;
	overlay_root = root;
}

static void remember(int dir, const char *name, bool directory)
{
	if (n_remembered < 0 || n_remembered == REMEMBERED_MAX)
		return;
	remembered[n_remembered].dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	remembered[n_remembered].directory = directory;
	strncpy(remembered[n_remembered++].name, name, PATH_BYTES - 1);
}

void take_back_places(void)
{
	for (; n_remembered > 0; n_remembered--) {
		int i = n_remembered - 1;
		unlinkat(remembered[i].dir, remembered[i].name, remembered[i].directory ? AT_REMOVEDIR : 0);
		close(remembered[i].dir);
	}
}

static bool descriptor_path(int fd, char path[PATH_BYTES])
{
	struct text self = {0};
	text_str(&self, "/proc/self/fd/");
	text_num(&self, fd);
	ssize_t n = readlink(text_end(&self), path, PATH_BYTES - 1);
	path[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* What is made in a directory of a lower layer has the overlay copy that directory, and those above, to the upper. */
static void remember_copies_of(int dir)
{
	struct stat st;
	char path[PATH_BYTES], root[PATH_BYTES];
	if (n_remembered < 0 || overlay_upper < 0 || !descriptor_path(dir, path) || !descriptor_path(overlay_root, root))
		return;
	char *inside = path + strlen(root);
	for (char *end = inside; *end;) {
		end = strchrnul(end + 1, '/');
		char saved = *end;
		*end = '\0';
		if (fstatat(overlay_upper, inside + 1, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			remember(overlay_upper, inside + 1, true);
		*end = saved;
	}
}

/* The descriptor of `name` below `dir`, made when missing; the directory itself is known to be inside. */
static int make_entry(int dir, const char *name, bool directory)
{
	remember_copies_of(dir);
	if (directory) {
		if (mkdirat(dir, name, 0755) == 0)
			remember(dir, name, true);
		else if (errno != EEXIST)
			return -1;
		return openat(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	}
	int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd >= 0) {
		close(fd);
		remember(dir, name, false);
	} else if (errno != EEXIST) {
		return -1;
	}
	return openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static int check_kind(int fd, bool directory, const char **why)
{
	struct stat st;
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		bool fits = directory ? S_ISDIR(st.st_mode) : !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode);
		if (fits)
			return fd;
		if (S_ISLNK(st.st_mode))
			*why = "is a symbolic link in the subhost's root";
		else
			*why = directory ? "is no directory in the subhost's root" : "is a directory in the subhost's root";
		errno = S_ISLNK(st.st_mode) ? ELOOP : directory ? ENOTDIR : EISDIR;
	}
	close(fd);
	return -1;
}

/* Walks `path` below `root`; `follow` says whether links of the root are followed (inside it). */
static int walk(int root, const char *path, bool directory, bool make, bool follow, const char **why)
{
	uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (follow ? 0 : RESOLVE_NO_SYMLINKS);
	*why = NULL;
	int fd = sys_openat2(root, path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, resolve);
	if (fd < 0 && errno == ELOOP && !follow)
		*why = "has a symbolic link on its way in the subhost's root";
	if (fd >= 0 || errno != ENOENT || !make)
		return check_kind(fd, directory, why);

	/* Something is missing. Each prefix is resolved anew from the root (so that ".." and absolute links
	 * stay inside), and the missing part is made in the directory that was found. */
	char prefix[PATH_BYTES];
	size_t len = strlen(path);
	if (len >= sizeof prefix) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(prefix, path, len + 1);
	int dir = sys_openat2(root, ".", O_PATH | O_DIRECTORY, 0, resolve);
	for (char *p = prefix; dir >= 0;) {
		while (*p == '/')
			p++;
		char *end = strchrnul(p, '/');
		bool last = end[strspn(end, "/")] == '\0';
		char saved = *end;
		*end = '\0';
		int next = sys_openat2(root, prefix, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, resolve);
		if (next < 0 && errno == ENOENT)
			next = make_entry(dir, p, last ? directory : true);
		close(dir);
		*end = saved;
		if (last)
			return check_kind(next, directory, why);
		dir = next;
		p = end;
	}
	return -1;
}

int open_place(int root, const char *path, bool directory, bool make, const char **why)
{
	return walk(root, path, directory, make, false, why);
}

int open_target(int root, const char *path, bool directory, bool make, const char **why)
{
	return walk(root, path, directory, make, true, why);
}

void remove_place(int root, const char *path)
{
	char parent[PATH_BYTES];
	const char *name = strrchr(path, '/');
	size_t len = name ? (size_t)(name - path) : 0;
	if (len >= sizeof parent)
		return;
	memcpy(parent, len ? path : ".", len ? len : 1);
	parent[len ? len : 1] = '\0';
	int dir = sys_openat2(root, parent, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (dir < 0)
		return;
	unlinkat(dir, name ? name + 1 : path, 0);
	close(dir);
}
