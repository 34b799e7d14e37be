/*
 * The stage between the host and the subhost. It is started with nothing of the host's but what it needs:
 * an empty environment, the inside ends of the relay's pipes, a socket to the relay and the pidfd (see
 * enter.c). It joins all namespaces; but since a pid namespace is joined only by the children of who asks
 * for it (pid_namespaces(7)), nobody inside can see or trace it. So all that needs the host's powers is done
 * here, and they are given up here. Its child, the first one that is seen inside, is clean from its birth.
 */
#include "enter.h"
#include <sys/resource.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP)

static const struct enter_options *o;
static struct account account;
static bool as_root;

static _Noreturn void fail(const char *what, const char *subject, int err)
{
	struct text t = {0};
	text_str(&t, ENTER_PREFIX);
	text_str(&t, o->name);
	text_str(&t, ": ");
	text_str(&t, what);
	if (t.len < sizeof t.buf)
		t.buf[t.len] = '\0';
	t.buf[sizeof t.buf - 1] = '\0';
	complain(t.buf, subject, err);
	_exit(1);
}

/* Node raises its own limit of open files (and we inherit the caller's); inside, those of pid 1 hold. */
static void take_limits(void)
{
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		if (prlimit((pid_t)parse_num(o->pid), resource, NULL, &limit) == 0)
			prlimit(0, resource, &limit, NULL); /* not setrlimit(3), which brings along what threads need */
	}
}

static void enter_namespaces(void)
{
	/* Unreadable by whoever could see us, and the child inherits it: /proc/PID/exe of it names a program of
	 * the host's (CVE-2019-5736) until it has executed another one. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL); /* the caller's keys stay outside; a kernel without keys has none */
	take_limits();
	if (setns(INSIDE_PIDFD, NAMESPACES) < 0)
		fail("cannot enter its namespaces", NULL, errno);
	umask(022);
}

/* After this no capability counts outside of the subhost. EINVAL: its pid 1 is in our own user namespace. */
static void enter_user_namespace(void)
{
	if (setns(INSIDE_PIDFD, CLONE_NEWUSER) < 0 && errno != EINVAL)
		fail("cannot enter its user namespace", NULL, errno);
	close(INSIDE_PIDFD);
}

static void find_user(void)
{
	const char *wanted = o->user ? o->user : "0";
	if (find_account(wanted, &account)) {
		as_root = account.uid == 0;
		if (!account.shell[0])
			strcpy(account.shell, "/bin/sh");
	} else if (!o->user) { /* a root without accounts is entered all the same */
		strcpy(account.name, "root");
		strcpy(account.home, "/root");
		account.n_groups = 1;
		as_root = true;
	} else {
		fail("no such user in its /etc/passwd:", o->user, 0);
	}
	if (!o->user)
		strcpy(account.shell, access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh");
}

/* The relay gets the master, checks it and sets its size; the slave becomes our stdio, and the child's. */
static void make_terminal(void)
{
	int slave;
	char byte = 't';
	const char *why;
	int master = open_inside_terminal(account.uid, &slave, &why);
	if (master < 0)
		fail(why, NULL, errno);
	if (send_fds(INSIDE_CONTROL, &byte, 1, &master, 1) < 0 || read(INSIDE_CONTROL, &byte, 1) != 1)
		_exit(1); /* the relay knows why */
	close(master);
	for (int fd = 0; fd < 3; fd++)
		dup2(slave, fd);
	close(slave);
}

/* `echo >/dev/stderr` opens the pipe anew, and needs to be allowed to. */
static void own_pipes(void)
{
	for (int fd = 0; fd < 3; fd++)
		fchown(fd, account.uid, account.gid);
}

static int give_up_all_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};
	return (int)syscall(SYS_capset, &header, none);
}

static uint64_t kept_capabilities(void)
{
	uint64_t mask = UINT64_MAX;
	if (o->caps && !parse_hex(o->caps, &mask))
		fail("no mask of capabilities:", o->caps, 0);
	return mask;
}

/* By system call: the library's functions look after threads that are not there, for 2 KiB of program. */
#ifdef SYS_setresuid32 /* on 32 bits the plain ones have ids of 16 bits */
#undef SYS_setgroups
#undef SYS_setresgid
#undef SYS_setresuid
#define SYS_setgroups SYS_setgroups32
#define SYS_setresgid SYS_setresgid32
#define SYS_setresuid SYS_setresuid32
#endif

static void become_user(void)
{
	/* The bounding set cannot be cut after the user is changed, nor the user changed after the set is cut
	 * where it lacks SETUID; so the change of user keeps its hands off the capabilities (capabilities(7)). */
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ||
	    syscall(SYS_setgroups, account.n_groups, account.groups) < 0 ||
	    syscall(SYS_setresgid, account.gid, account.gid, account.gid) < 0 ||
	    syscall(SYS_setresuid, account.uid, account.uid, account.uid) < 0 || prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0)
		fail("cannot become user", account.name, errno);
	if (keep_capabilities(kept_capabilities()) < 0 || (!as_root && give_up_all_capabilities() < 0))
		fail("cannot give up capabilities", NULL, errno);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the change of user sets it to fs.suid_dumpable */
}

static void enter_directory(void)
{
	if (o->dir) {
		if (chdir(o->dir) < 0)
			fail("cannot change to directory", o->dir, errno);
	} else if (account.home[0] != '/' || chdir(account.home) < 0) {
		chdir("/");
	}
}

static char variables[9][PATH_BYTES + 16];
static char *environment[10];

static void set_variable(const char *name, const char *value)
{
	int i = 0;
	while (environment[i])
		i++;
	size_t name_len = strlen(name), len = strlen(value);
	if (name_len + len + 2 > sizeof variables[i])
		return;
	memcpy(variables[i], name, name_len);
	variables[i][name_len] = '=';
	memcpy(variables[i] + name_len + 1, value, len + 1);
	environment[i] = variables[i];
}

static void set_environment(void)
{
	set_variable("PATH", DEFAULT_PATH);
	set_variable("HOME", account.home[0] ? account.home : "/");
	set_variable("TERM", o->term ? o->term : "dumb");
	set_variable("LANG", "C.UTF-8");
	set_variable("container", "overlay-boot");
	set_variable("NAME", o->name);
	set_variable("USER", account.name);
	set_variable("LOGNAME", account.name);
	set_variable("SHELL", account.shell);
	environ = environment;
}

/* In the child, the process inside. What the caller ignored or blocked is nothing it should know of. */
static _Noreturn void execute(void)
{
	sigset_t none;
	close(INSIDE_CONTROL);
	setsid();
	if (o->mark)
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	const char *program = o->command[0];
	if (program) {
		execvp(program, o->command);
	} else {
		/* a leading `-` makes it a login shell */
		const char *base = strrchr(account.shell, '/');
		char arg0[256] = "-";
		strncat(arg0, base ? base + 1 : account.shell, sizeof arg0 - 2);
		program = account.shell;
		execv(program, (char *[]){arg0, NULL});
	}
	int err = errno;
	struct text t = {0};
	text_str(&t, ENTER_PREFIX);
	text_str(&t, o->name);
	text_str(&t, ": ");
	text_str(&t, program);
	text_str(&t, ": ");
	text_str(&t, err == ENOENT ? "command not found" : strerror(err));
	text_str(&t, "\n");
	write_all(STDERR_FILENO, t.buf, t.len);
	_exit(err == ENOENT ? 127 : 126);
}

int enter_inside(const struct enter_options *options)
{
	o = options;
	enter_namespaces();
	find_user();
	if (o->mark)
		make_terminal();
	else
		own_pipes();
	enter_user_namespace();
	become_user();
	enter_directory();
	set_environment();
	/* CLONE_PARENT: the relay is its parent and hears of its end */
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		fail("cannot start a process in it", NULL, errno);
	if (pid == 0)
		execute();
	return write(INSIDE_CONTROL, &pid, sizeof pid) == sizeof pid ? 0 : 1;
}
