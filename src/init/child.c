/*
 * The child of the keeper: first process of the new namespaces, later pid 1 of the subhost. It runs the
 * operations it is sent, in the order they come, and stops at the first one that fails. Everything below
 * the subhost's root is reached by descriptor (inside.c), since the subhost's owner may have prepared it.
 *
 * Operations and their arguments (src/plan/child-ops.ts makes them):
 */
#include "wire.h"
#include "mounts.h"
#include <linux/if.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#define KEYCTL_JOIN_SESSION_KEYRING 1
#define TAKEN_MAX 256
#define ARGUMENTS_MAX 6

static struct {
	struct child_ends ends;
	int root;
	const char *reaper;
	struct overlay overlay;
	struct made made; /* of the writable layer: taken back if the rest fails */
	char made_upper[PATH_BYTES], made_work[PATH_BYTES];
	int taken[TAKEN_MAX], n_taken;
	bool devices_allowed;
	bool failed;
} c; /* not initialized here: all of it would be in the program's file */

/* Without a keeper: `mount the image a.raw: Invalid argument: why`. */
static void complain_step(const char *const *strings)
{
	struct text line = {0};
	text_str(&line, strings[0]);
	if (strings[1][0]) {
		text_str(&line, " ");
		text_str(&line, strings[1]);
	}
	for (int i = 3; i < 5; i++)
		if (strings[i][0]) {
			text_str(&line, ": ");
			text_str(&line, strings[i]);
		}
	complain(text_end(&line), NULL, 0);
}

/* The first thing that failed, told to the keeper; false, for `return fail(...)`. */
static bool fail(const char *what, const char *path, int err, const char *why)
{
	struct text number = {0};
	text_num(&number, err);
	text_end(&number);
	const char *strings[] = {what, path, number.buf, err ? strerror(err) : "", why ? why : "", NULL};
	if (c.failed)
		return false;
	c.failed = true;
	if (c.ends.pair < 0) {
		complain_step(strings);
		return false;
	}
	/* What the writable layer did not have before it does not have afterwards; a `work` that was there is hold()'s. */
	c.made.inside_work = 0;
	take_back_writable(&c.made, c.made_upper, c.made_work);
	send_frame(c.ends.pair, 0, WORD_FAILED, strings);
	return false;
}

void take_back_operations(void)
{
	take_back_places();
	take_back_writable(&c.made, c.made_upper, c.made_work);
}

static void hold(const char *label, int fd)
{
	if (c.ends.pair < 0)
		return; /* held until this process ends, which is when the mount is there */
	char message[sizeof(struct frame) + 32];
	struct frame head = {.len = (uint32_t)strlen(label) + 1, .type = WORD_HOLD};
	memcpy(message, &head, sizeof head);
	memcpy(message + sizeof head, label, head.len);
	send_fds(c.ends.pair, message, sizeof head + head.len, &fd, 1);
	close(fd);
}

static unsigned attrs(unsigned more)
{
	return more | (c.devices_allowed ? 0 : MOUNT_ATTR_NODEV);
}

/* ---- the root ---- */

static bool op_devices_allowed(const char *const *a)
{
	(void)a;
	c.devices_allowed = true;
	return true;
}

static bool op_worklock(const char *const *a)
{
	int fd = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail("open WORK", a[0], errno, NULL);
	const char *why;
	if (!lock_work(fd, c.ends.mounts, &why))
		return fail("lock WORK", a[0], errno, why);
	hold("work", fd);
	return true;
}

static bool op_lower(const char *const *a)
{
	return overlay_lower(&c.overlay, a[0]) || fail("add the layer", a[0], errno, c.overlay.why);
}

static bool op_user_xattrs(const char *const *a)
{
	(void)a;
	c.overlay.user_xattrs = true;
	return true;
}

static bool op_overlay(const char *const *a)
{
	return overlay_mount(&c.overlay, a[1], a[2], a[0], attrs(0)) ||
	       fail("mount the overlay on", a[0], errno, c.overlay.why);
}

static unsigned mode_attrs(const char *mode)
{
	return attrs(strcmp(mode, "ro") == 0 ? MOUNT_ATTR_RDONLY : 0);
}

static bool op_bind(const char *const *a)
{
	return bind_mount(a[0], a[1], mode_attrs(a[2]), 0) || fail("bind mount the root on", a[1], errno, NULL);
}

/* LIVE is the root as it is, with what is mounted below it; a mount of its own it must be for the pivot. */
static bool op_self(const char *const *a)
{
	return bind_mount(a[0], a[0], attrs(0), AT_RECURSIVE) || fail("make a mount of", a[0], errno, NULL);
}

static bool op_root(const char *const *a)
{
	c.root = open(a[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	remember_copies(c.made.inside_upper - 1, c.root);
	return c.root >= 0 || fail("open the root", a[0], errno, NULL);
}

static bool op_writable(const char *const *a)
{
	const char *path, *why;
	strncpy(c.made_upper, a[0], sizeof c.made_upper - 1);
	strncpy(c.made_work, a[1], sizeof c.made_work - 1);
	int work = prepare_writable(a[0], a[1], c.ends.mounts, &c.made, &path, &why);
	if (work < 0)
		return fail("prepare", path, errno, why);
	hold("work", work);
	return true;
}

static bool op_tmpfs(const char *const *a)
{
	return tmpfs_mount(a[0], attrs(0)) || fail("mount a tmpfs on", a[0], errno, NULL);
}

static bool op_directory(const char *const *a)
{
	return mkdir(a[0], 0755) == 0 || errno == EEXIST || fail("make", a[0], errno, NULL);
}

static bool op_directory_or_empty(const char *const *a)
{
	struct stat st;
	if (lstat(a[0], &st) < 0)
		return errno == ENOENT ? op_directory(a + 1) : fail("use", a[0], errno, NULL);
	if (!S_ISDIR(st.st_mode))
		return fail("use", a[0], ENOTDIR, "it has to be a directory of its own");
	return symlink(a[0], a[1]) == 0 || fail("make", a[1], errno, NULL);
}

static bool op_image(const char *const *a)
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

static bool op_take(const char *const *a)
{
	if (c.n_taken == TAKEN_MAX)
		return fail("take", a[0], E2BIG, "too many binds");
	struct stat st;
	int tree = bind_tree(a[0], mode_attrs(a[1]), AT_SYMLINK_NOFOLLOW);
	c.taken[c.n_taken++] = tree;
	if (tree < 0 || fstat(tree, &st) < 0)
		return fail("bind", a[0], errno, NULL);
	/* usr of layers that are images: what the link leads to would be the host's. */
	return !S_ISLNK(st.st_mode) || fail("bind", a[0], ELOOP, "it is a symbolic link");
}

static bool op_put(const char *const *a)
{
	struct stat st;
	const char *why = NULL;
	long long number = parse_num(a[0]);
	if (number < 0 || number >= c.n_taken)
		return fail("put what was not taken at", a[1], 0, NULL);
	int tree = c.taken[number];
	if (fstat(tree, &st) < 0)
		return fail("bind at", a[1], errno, NULL);
	int target = open_target(c.root, a[1], S_ISDIR(st.st_mode), true, &why);
	if (target < 0 && errno == EROFS && !why)
		why = "the mount point is missing, and the root is read-only";
	return attach_tree(tree, target) || fail("bind at", a[1], errno, why);
}

static bool op_seal(const char *const *a)
{
	(void)a;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	return sys_mount_setattr(c.root, "", AT_EMPTY_PATH, &attr) == 0 || fail("make the root read-only", "", errno, NULL);
}

/* ---- below the root ---- */

static bool op_seed(const char *const *a)
{
	const char *why;
	int upper = open(a[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (upper < 0)
		return fail("open UPPER", a[0], errno, NULL);
	bool done = seed_file(upper, a[1], a[2], &why);
	int err = errno;
	close(upper);
	return done || fail("write in UPPER", a[1], err, why);
}

static bool op_system(const char *const *a)
{
	const char *why, *path;
	int console[2] = {-1, -1};
	if (strcmp(a[0], "dev") == 0) {
		bool done = mount_dev(c.root, attrs(0), console, &path, &why);
		int err = errno;
		if (console[0] >= 0)
			hold("console", console[0]);
		if (console[1] >= 0)
			hold("console's other end", console[1]);
		return done || fail("make", path, err, why);
	}
	return mount_system(c.root, a[0], a[1], &path, &why) || fail("mount", path, errno, why);
}

static bool op_reaper(const char *const *a)
{
	const char *why;
	c.reaper = place_reaper(c.root, a[0], &why);
	return c.reaper || fail("place", "/.reaper", errno, why);
}

static bool op_adjtime(const char *const *a)
{
	(void)a;
	const char *why;
	return bind_adjtime(c.root, &why) || fail("bind", "/etc/adjtime", errno, why);
}

static bool op_share(const char *const *a)
{
	const char *why;
	unsigned more = strcmp(a[2], "ro") == 0 ? MOUNT_ATTR_RDONLY : 0;
	if (share_mount(c.root, a[0], a[1], attrs(more), &why))
		return true;
	int err = errno;
	struct text places = {0};
	text_str(&places, a[0]);
	text_str(&places, " at ");
	text_str(&places, a[1]);
	return fail("share", text_end(&places), err, why);
}

static bool op_protect(const char *const *a)
{
	return protect(c.root, a[0], a[1]) || fail("protect", a[1], errno, NULL);
}

/* ---- into it ---- */

static bool op_pivot(const char *const *a)
{
	(void)a;
	if (fchdir(c.root) < 0 || sys_pivot_root(".", ".") < 0)
		return fail("pivot into the root", "", errno, errno == EINVAL ? "is the host's root an initramfs?" : NULL);
	/* The old root lies on the new one now; what is below "." is the old one. pivot_root(2), NOTES */
	if (sys_umount(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fail("leave the host's root", "", errno, NULL);
	return true;
}

static bool op_hostname(const char *const *a)
{
	return sethostname(a[0], strlen(a[0])) == 0 || fail("set the host name", a[0], errno, NULL);
}

static bool op_lo(const char *const *a)
{
	(void)a;
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	int err = errno;
	if (fd >= 0)
		close(fd);
	return done || fail("bring up", "lo", err, NULL);
}

/* Last of all that needs the host's powers: from here on capabilities count in this user namespace only. */
static bool op_userns(const char *const *a)
{
	(void)a;
	return setns(c.ends.user, CLONE_NEWUSER) == 0 || fail("enter the user namespace", "", errno, NULL);
}

static bool op_caps(const char *const *a)
{
	uint64_t keep;
	if (!parse_hex(a[0], &keep) || keep_capabilities(keep) < 0)
		return fail("drop capabilities", a[0], errno, NULL);
	return true;
}

/* NAME SCRIPT: the shell with the start script; $1 is the reaper's path. */
static bool op_exec(const char *const *a)
{
	char name[64] = "NAME=", byte;
	strncat(name, a[0], sizeof name - 6);
	char *env[] = {"PATH=" DEFAULT_PATH, "HOME=/root", "TERM=linux", "LANG=C.UTF-8", "container=overlay-boot", name, NULL};
	char *argv[] = {"sh", "-c", (char *)(uintptr_t)a[1], "overlay-boot", (char *)(uintptr_t)(c.reaper ? c.reaper : "/.reaper"), NULL};

	send_frame(c.ends.pair, 0, WORD_EXEC, NULL);
	if (read(c.ends.pair, &byte, 1) != 1)
		return false;
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0); /* kernels without keyrings have none to leak */
	umask(022);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	int null = open("/dev/null", O_RDONLY);
	if (null < 0)
		null = open("/", O_PATH); /* a root without /dev: a descriptor that gives nothing */
	/* 0 1 2, 3 for the start script's reports, 4 for us until the exec; nothing of the host's stays open. */
	int from[] = {null, c.ends.log, c.ends.log, c.ends.report, c.ends.pair}, n = 0;
	for (; n < 5; n++)
		from[n] = fcntl(from[n], F_DUPFD_CLOEXEC, 10);
	for (n = 0; n < 5; n++)
		dup3(from[n], n, n < 4 ? 0 : O_CLOEXEC);
	c.ends.pair = 4;
	close_from(5);
	/* Changing capabilities cleared it. prctl(2), PR_SET_PDEATHSIG */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	execve("/bin/sh", argv, env);
	return fail("run", "/bin/sh", errno, errno == ENOENT ? "the root has no /bin/sh" : NULL);
}

static const struct operation {
	const char *name;
	int arguments;
	bool (*run)(const char *const *arguments);
} operations[] = {
	{"devices-allowed", 0, op_devices_allowed}, /* CAPS=all: no mount is nodev */
	{"worklock", 1, op_worklock},               /* WORK: one writable layer has one user */
	{"lower", 1, op_lower},                     /* DIR: the next layer, the top first */
	{"user-xattrs", 0, op_user_xattrs},
	{"overlay", 3, op_overlay},                 /* LIVE UPPER|"" WORK|"" */
	{"bind", 3, op_bind},                       /* UPPER LIVE ro|rw */
	{"self", 1, op_self},                       /* LIVE */
	{"writable", 2, op_writable},               /* UPPER WORK: made where missing, WORK locked and emptied */
	{"stage", 1, op_tmpfs},                     /* LIVE: images are mounted below it, the root covers it */
	{"tmpfs", 1, op_tmpfs},                     /* LIVE: a root without layers */
	{"directory", 1, op_directory},             /* PATH */
	{"directory-or-empty", 2, op_directory_or_empty}, /* PATH AT: a link to PATH, or an empty directory */
	{"image", 6, op_image},                     /* IMAGE OFFSET SIZE TYPE ro|rw AT */
	{"take", 2, op_take},                       /* SOURCE ro|rw */
	{"put", 2, op_put},                         /* NUMBER INSIDE: attaches what was taken as the n-th */
	{"root", 1, op_root},                       /* LIVE: what follows is below it */
	{"seal", 0, op_seal},                       /* the root's mount becomes read-only */
	{"seed", 3, op_seed},                       /* UPPER FILE TEXT: written if it is missing */
	{"system", 2, op_system},                   /* dev|proc|sys|run OPTION */
	{"adjtime", 0, op_adjtime},
	{"reaper", 1, op_reaper},                   /* PROGRAM */
	{"share", 3, op_share},                     /* HOST INSIDE ro|rw */
	{"protect", 2, op_protect},                 /* ro|rw|mask PATH */
	{"pivot", 0, op_pivot},
	{"hostname", 1, op_hostname},
	{"lo", 0, op_lo},
	{"userns", 0, op_userns},
	{"caps", 1, op_caps},                       /* MASK in hexadecimal */
	{"exec", 2, op_exec},                       /* NAME SCRIPT */
};

static bool run_operation(const char *name, const char *payload, size_t len, size_t *at)
{
	const char *arguments[ARGUMENTS_MAX] = {0};
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		if (strcmp(operations[i].name, name) != 0)
			continue;
		for (int n = 0; n < operations[i].arguments; n++)
			if (!(arguments[n] = next_string(payload, len, at)))
				return fail("read the plan: arguments of", name, 0, NULL);
		return operations[i].run(arguments);
	}
	return fail("read the plan: no such operation", name, 0, NULL);
}

void begin_operations(struct child_ends ends)
{
	c.ends = ends;
	c.root = -1;
}

bool run_operations(const char *payload, size_t len)
{
	size_t at = 0;
	const char *name;
	while (!c.failed && (name = next_string(payload, len, &at)))
		run_operation(name, payload, len, &at);
	return !c.failed;
}

int operations_root(void)
{
	return c.root;
}

_Noreturn void child(struct child_ends ends)
{
	static char *payload;
	static size_t room;
	struct frame head;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* Numbers above 9 first: they may have any number now, also each other's. */
	int high[] = {ends.pair, ends.log, ends.report, ends.mounts, ends.user};
	for (int i = 0; i < 5; i++)
		high[i] = fcntl(high[i], F_DUPFD, 10);
	for (int i = 0; i < 5; i++)
		if (dup3(high[i], 3 + i, O_CLOEXEC) < 0)
			close(3 + i); /* no user namespace */
	close_from(8);
	begin_operations((struct child_ends){.pair = 3, .log = 4, .report = 5, .mounts = 6, .user = 7});
	signal(SIGPIPE, SIG_IGN);
	if (sys_mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make the mount namespace private", "/", errno, NULL);
	while (!c.failed && read_frame(c.ends.pair, &head, &payload, &room))
		if (run_operations(payload, head.len))
			send_frame(c.ends.pair, 0, WORD_DONE, NULL);
	_exit(1);
}
