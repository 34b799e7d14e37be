/*
 * Operations of the child below the root, and into it. What is below the root is reached by descriptor (inside.c),
 * since the subhost's owner may have prepared it.
 */
#include "child.h"
#include <linux/if.h>
#include <sys/ioctl.h>

#define KEYCTL_JOIN_SESSION_KEYRING 1

/* ---- below the root ---- */

bool op_seed(const char *const *a)
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

bool op_system(const char *const *a)
{
	const char *why, *path;
	int console[2] = {-1, -1};
	if (strcmp(a[0], "dev") == 0) {
		bool done = mount_dev(ops.root, attrs(0), console, &path, &why);
		int err = errno;
		if (console[0] >= 0)
			hold("console", console[0]);
		if (console[1] >= 0)
			hold("console's other end", console[1]);
		return done || fail("make", path, err, why);
	}
	return mount_system(ops.root, a[0], a[1], &path, &why) || fail("mount", path, errno, why);
}

bool op_reaper(const char *const *a)
{
	const char *why;
	ops.reaper = place_reaper(ops.root, a[0], &why);
	return ops.reaper || fail("place", "/.reaper", errno, why);
}

bool op_adjtime(const char *const *a)
{
	(void)a;
	const char *why;
	return bind_adjtime(ops.root, &why) || fail("bind", "/etc/adjtime", errno, why);
}

bool op_share(const char *const *a)
{
	const char *why;
	unsigned more = strcmp(a[2], "ro") == 0 ? MOUNT_ATTR_RDONLY : 0;
	if (share_mount(ops.root, a[0], a[1], attrs(more), &why))
		return true;
	int err = errno;
	struct text places = {0};
	text_str(&places, a[0]);
	text_str(&places, " at ");
	text_str(&places, a[1]);
	return fail("share", text_end(&places), err, why);
}

bool op_protect(const char *const *a)
{
	return protect(ops.root, a[0], a[1]) || fail("protect", a[1], errno, NULL);
}

/* ---- into it ---- */

bool op_pivot(const char *const *a)
{
	(void)a;
	if (fchdir(ops.root) < 0 || sys_pivot_root(".", ".") < 0)
		return fail("pivot into the root", "", errno, errno == EINVAL ? "is the host's root an initramfs?" : NULL);
	/* The old root lies on the new one now; what is below "." is the old one. pivot_root(2), NOTES */
	if (sys_umount(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fail("leave the host's root", "", errno, NULL);
	return true;
}

bool op_hostname(const char *const *a)
{
	return sethostname(a[0], strlen(a[0])) == 0 || fail("set the host name", a[0], errno, NULL);
}

bool op_lo(const char *const *a)
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
bool op_userns(const char *const *a)
{
	(void)a;
	return setns(ops.ends.user, CLONE_NEWUSER) == 0 || fail("enter the user namespace", "", errno, NULL);
}

bool op_caps(const char *const *a)
{
	uint64_t keep;
	if (!parse_hex(a[0], &keep) || keep_capabilities(keep) < 0)
		return fail("drop capabilities", a[0], errno, NULL);
	return true;
}

/* NAME SCRIPT: the shell with the start script; $1 is the reaper's path. */
bool op_exec(const char *const *a)
{
	char name[64] = "NAME=", byte;
	strncat(name, a[0], sizeof name - 6);
	char *env[] = {"PATH=" DEFAULT_PATH, "HOME=/root", "TERM=linux", "LANG=C.UTF-8", "container=overlay-boot", name, NULL};
	char *argv[] = {"sh", "-c", (char *)(uintptr_t)a[1], "overlay-boot", (char *)(uintptr_t)(ops.reaper ? ops.reaper : "/.reaper"), NULL};

	send_frame(ops.ends.pair, 0, WORD_EXEC, NULL);
	if (read(ops.ends.pair, &byte, 1) != 1)
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
	int from[] = {null, ops.ends.log, ops.ends.log, ops.ends.report, ops.ends.pair}, n = 0;
	for (; n < 5; n++)
		from[n] = fcntl(from[n], F_DUPFD_CLOEXEC, 10);
	for (n = 0; n < 5; n++)
		dup3(from[n], n, n < 4 ? 0 : O_CLOEXEC);
	ops.ends.pair = 4;
	close_from(5);
	/* Changing capabilities cleared it. prctl(2), PR_SET_PDEATHSIG */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	execve("/bin/sh", argv, env);
	return fail("run", "/bin/sh", errno, errno == ENOENT ? "the root has no /bin/sh" : NULL);
}
