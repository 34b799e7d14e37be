/*
 * Mode `enter`: a process inside a running subhost, for overlay-go. Four processes take part:
 *
 *   the relay    (enter-relay.c) stays on the host and keeps the caller's descriptors; it never enters. It has a
 *                child that is the parent of the other two, and reaps them.
 *   the starter  (enter-inside.c) executes this program anew, from a read-only mount of it and with an empty
 *                environment, joins all namespaces and gives up what the subhost may not have. Only its
 *                children are in the pid namespace, so it cannot be seen inside.
 *   the process inside is cloned by the starter when that holds nothing of the host's any more. There is
 *                thus no moment at which /proc/PID/fd, /proc/PID/environ or /proc/PID/exe inside leads out.
 *                CLONE_PARENT makes it the child of the starter's parent.
 *
 * Root inside could open a descriptor it was given anew, and for writing, where it was given for reading; so
 * it is given pipes, or a pty of its own devpts, and bytes are copied.
 */
#include "enter.h"
#include <linux/sched.h>

static const struct {
	const char *name;
	size_t offset;
	bool for_inside;
} options[] = {
	{"--name", offsetof(struct enter_options, name), true},
	{"--pid", offsetof(struct enter_options, pid), true},
	{"--start", offsetof(struct enter_options, start), false},
	{"--cgroup", offsetof(struct enter_options, cgroup), false},
	{"--caps", offsetof(struct enter_options, caps), true},
	{"--user", offsetof(struct enter_options, user), true},
	{"--dir", offsetof(struct enter_options, dir), true},
	{"--term", offsetof(struct enter_options, term), true},
	{"--mark", offsetof(struct enter_options, mark), false},
	{"--stage", offsetof(struct enter_options, stage), false},
};
#define N_OPTIONS (sizeof options / sizeof options[0])

static const char **value_of(struct enter_options *o, size_t i)
{
	return (const char **)(void *)((char *)o + options[i].offset);
}

static int parse(struct enter_options *o, char **argv)
{
	while (*argv && strcmp(*argv, "--") != 0) {
		size_t i = 0;
		while (i < N_OPTIONS && strcmp(options[i].name, *argv) != 0)
			i++;
		if (i == N_OPTIONS || !argv[1])
			return complain(ENTER_PREFIX "init enter: bad option", *argv, 0);
		*value_of(o, i) = argv[1];
		argv += 2;
	}
	o->command = *argv ? argv + 1 : argv;
	return 0;
}

static int refuse(const struct enter_options *o, const char *what, const char *subject, int err)
{
	struct text t = {0};
	text_str(&t, ENTER_PREFIX);
	text_str(&t, o->name);
	text_str(&t, ": ");
	text_str(&t, what);
	t.buf[t.len < sizeof t.buf ? t.len : sizeof t.buf - 1] = '\0';
	return complain(t.buf, subject, err);
}

/* The start time is looked at after the pidfd is there: from then on it can be no other process. */
static int open_subhost(const struct enter_options *o)
{
	pid_t pid = (pid_t)parse_num(o->pid);
	int pidfd = sys_pidfd_open(pid);
	if (pidfd >= 0 && start_time_ticks(pid) != parse_num(o->start)) {
		close(pidfd);
		pidfd = -1;
		errno = ESRCH;
	}
	return pidfd;
}

/* ---- the starter, before its second life ---- */

struct start {
	int fds[5]; /* stdio, INSIDE_CONTROL, INSIDE_PIDFD */
	int cgroup; /* directory, or -1 */
};

/*
 * Executes this program from a private, read-only mount of it: whoever gets hold of /proc/PID/exe, now or by
 * a descriptor later, cannot write to the host's file (CVE-2019-5736). Where the kernel has no such mounts
 * (Linux < 5.12), PR_SET_DUMPABLE has to do.
 */
static void execute_again(char **argv)
{
	char *no_environment[] = {NULL};
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	int fd = sys_open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE);
	if (fd >= 0 && sys_mount_setattr(fd, "", AT_EMPTY_PATH, &attr) == 0)
		syscall(SYS_execveat, fd, "", argv, no_environment, AT_EMPTY_PATH);
	execve("/proc/self/exe", argv, no_environment);
}

static _Noreturn void run_starter(struct enter_options *o, struct start *start)
{
	char *argv[2 * N_OPTIONS + 8];
	int argc = 0, n_command = 0;
	argv[argc++] = "overlay-go";
	argv[argc++] = "enter";
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (!options[i].for_inside || !*value_of(o, i))
			continue;
		argv[argc++] = (char *)(uintptr_t)options[i].name;
		argv[argc++] = (char *)(uintptr_t)*value_of(o, i);
	}
	if (o->mark) { /* that there is one; what it is stays here */
		argv[argc++] = "--mark";
		argv[argc++] = "-";
	}
	argv[argc++] = "--stage";
	argv[argc++] = "inside";
	argv[argc++] = "--";
	while (o->command[n_command])
		n_command++;
	char *all[argc + n_command + 1];
	memcpy(all, argv, (size_t)argc * sizeof *argv);
	memcpy(all + argc, o->command, (size_t)(n_command + 1) * sizeof *argv);
	for (int i = 0; i < 5; i++)
		start->fds[i] = fcntl(start->fds[i], F_DUPFD_CLOEXEC, 10);
	for (int i = 0; i < 5; i++)
		if (start->fds[i] < 0 || dup2(start->fds[i], i) < 0)
			_exit(refuse(o, "cannot arrange descriptors", NULL, errno));
	close_from(5);
	execute_again(all);
	_exit(refuse(o, "cannot execute itself", NULL, errno));
}

/* Born in the control group: to move there afterwards takes the kernel milliseconds (and Linux >= 5.7 can). */
static pid_t clone_into(int cgroup)
{
	struct clone_args args = {
		.flags = cgroup >= 0 ? CLONE_INTO_CGROUP : 0,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid >= 0 || cgroup < 0 || (errno != ENOSYS && errno != E2BIG && errno != EINVAL))
		return pid;
	pid = _Fork();
	if (pid == 0) {
		int procs = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		if (procs < 0 || !write_all(procs, "0", 1))
			_exit(complain(ENTER_PREFIX "cannot join the control group", NULL, errno));
		close(procs);
	}
	return pid;
}

/* In the relay's child. */
static int start_inside(struct enter_options *o, struct start *start)
{
	sigset_t child, old;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old); /* until the handler knows which child is which */
	pid_t pid = clone_into(start->cgroup);
	if (pid == 0)
		run_starter(o, start);
	int err = errno;
	relay_starter(pid);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return refuse(o, o->cgroup ? "cannot start a process in" : "cannot start a process", o->cgroup, err);
	return 0;
}

/* ---- the relay's side of it ---- */

/* The starter's terminal, checked and sized before anything runs on it. */
static bool receive_terminal(const struct enter_options *o, int control, struct relayed *r)
{
	char byte;
	int master, n = 1;
	if (recv_fds(control, &byte, 1, &master, &n) != 1 || n != 1)
		return false; /* the starter has said why */
	if (!is_terminal_master(master)) {
		refuse(o, "what its /dev/pts gave is no terminal", NULL, 0);
		return false;
	}
	/* Kept open: without any slave, reading the master would be an error, if only until it is opened anew. */
	ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	relay_follow_size(master);
	r->in = r->out = master;
	return write_all(control, "g", 1);
}

/* The socket's other end was, for a moment, held by a process that is seen inside: relay_reap checks what came. */
static bool receive_pid(int control, int tell)
{
	pid_t pid;
	int n = 0;
	return recv_fds(control, &pid, sizeof pid, NULL, &n) == sizeof pid && write_all(tell, &pid, sizeof pid);
}

static bool make_pipes(struct relayed *r, struct start *start, int *control)
{
	int pipes[3][2], pair[2];
	for (int i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			return false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	*r = (struct relayed){.in = pipes[0][1], .out = pipes[1][0], .err = pipes[2][0]};
	start->fds[0] = pipes[0][0];
	start->fds[1] = pipes[1][1];
	start->fds[2] = pipes[2][1];
	start->fds[INSIDE_CONTROL] = pair[1];
	*control = pair[0];
	return true;
}

/* Node holds back the input until nothing of it can be echoed or taken for a signal on its way. */
static void begin_with_mark(const char *mark)
{
	struct text t = {0};
	make_raw(STDIN_FILENO);
	text_str(&t, mark);
	text_str(&t, "+");
	write_all(STDOUT_FILENO, t.buf, t.len);
}

/*
 * The end of the output, by a text that nobody inside knows: node-pty loses what is still in the pty when its
 * child exits. So it is told, and we stay until the pty is closed or Node ends us, however long a stopped
 * terminal (^S) may keep the output waiting.
 */
static int end_with_mark(const char *mark, int status)
{
	struct text t = {0};
	char typed[256];
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	text_str(&t, mark);
	text_num(&t, status);
	text_str(&t, "\n");
	fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) & ~O_NONBLOCK);
	write_all(STDOUT_FILENO, t.buf, t.len);
	do
		poll(&in, 1, -1);
	while (!(in.revents & (POLLHUP | POLLERR)) && read(STDIN_FILENO, typed, sizeof typed) != 0);
	return status;
}

static int relay(struct enter_options *o, struct start *start)
{
	struct relayed r;
	int control, tell[2];
	relay_catch_signals(o->mark != NULL);
	if (!make_pipes(&r, start, &control) || pipe2(tell, O_CLOEXEC) < 0)
		return refuse(o, "cannot make pipes", NULL, errno);
	int messages = r.err;
	r.terminal = o->mark != NULL;
	pid_t pid = relay_fork();
	if (pid == 0) {
		if (start_inside(o, start) != 0)
			_exit(1);
		relay_reap(tell[0]);
	}
	if (pid < 0)
		return refuse(o, "cannot start a process", NULL, errno);
	for (int i = 0; i < 5; i++)
		close(start->fds[i]);
	close(tell[0]);
	bool entered = (!o->mark || receive_terminal(o, control, &r)) && receive_pid(control, tell[1]);
	close(tell[1]);
	if (!entered) {
		close(control);
		int status = relay_status();
		relay_pass_text(messages);
		return status ? status : 1;
	}
	close(control);
	if (o->mark)
		begin_with_mark(o->mark);
	return relay_run(&r);
}

int enter_main(int argc, char **argv)
{
	struct enter_options o = {0};
	struct start start = {.cgroup = -1};
	(void)argc;
	if (parse(&o, argv) != 0)
		return 1;
	if (o.stage && strcmp(o.stage, "guard") == 0)
		return guard_terminal();
	if (!o.name || !o.pid)
		return complain(ENTER_PREFIX "init enter: --name and --pid are needed", NULL, 0);
	if (o.stage)
		return enter_inside(&o);
	start.fds[INSIDE_PIDFD] = open_subhost(&o);
	int status = 1;
	if (start.fds[INSIDE_PIDFD] < 0)
		refuse(&o, "its pid 1 is gone: it has just ended", NULL, 0);
	else if (o.cgroup && (start.cgroup = open(o.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		refuse(&o, "cannot open its control group", o.cgroup, errno);
	else
		status = relay(&o, &start);
	return o.mark ? end_with_mark(o.mark, status) : status;
}
