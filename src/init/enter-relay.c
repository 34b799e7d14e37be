/*
 * The two that stay on the host. The relay has the caller's descriptors and copies bytes; whoever called it can stop it
 * (^Z). A dead process of the subhost that is not reaped would hold up the end of its pid namespace
 * (pid_namespaces(7)); so the relay has a child for that, the parent of the process inside, in a session of its own.
 * What that is sent is told to it, since it alone knows whether a pid still means the process inside.
 */
#include "enter.h"
#include <sys/eventfd.h>

/* What may be left in a pipe or a pty by a process that has ended; a daemon's endless output is cut here. */
#define DRAIN_BYTES (1 << 20)

static volatile pid_t parent;        /* of the process inside, our child; 0 in itself */
static volatile pid_t starter;       /* the stage "inside", enter-inside.c; known to the parent, as what follows */
static volatile pid_t inside;        /* 0: not known yet */
static volatile int starter_status = -1;
static volatile int inside_status = -1; /* in the relay: the parent's, which ends with it */
static volatile sig_atomic_t early_signal;
static bool on_terminal;
static int wake = -1; /* an eventfd: the process inside has ended */
static volatile int sized_master = -1;

static void on_child(int sig)
{
	int saved = errno, status;
	(void)sig;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		uint64_t one = 1;
		if (pid == starter)
			starter_status = status;
		else
			inside_status = status, (void)!write(wake, &one, sizeof one);
	}
	errno = saved;
}

static void pass_on(int sig)
{
	if (inside == 0)
		early_signal = sig;
	else if (inside_status < 0 && kill(-inside, sig) < 0)
		kill(inside, sig); /* not yet the leader of its group */
}

/*
 * What Node sends, and what it means to the process inside (enter.ts has the same table). A ^C of the caller's
 * terminal reaches Node and us, and Node passes it on, so ours is ignored, or the program inside would see two.
 * It has to come by another number: of two pending signals of one number the kernel keeps the first only.
 */
static const int passed_on[][2] = {
	{SIGUSR1, SIGINT},
	{SIGUSR2, SIGTERM},
	{SIGVTALRM, SIGHUP},
	{SIGPROF, SIGQUIT},
};
#define N_PASSED_ON (sizeof passed_on / sizeof passed_on[0])

static void on_signal(int sig)
{
	int saved = errno;
	for (size_t i = 0; i < N_PASSED_ON; i++) {
		if (passed_on[i][0] != sig)
			continue;
		if (!parent)
			pass_on(passed_on[i][1]);
		else if (inside_status < 0)
			kill(parent, sig);
		else
			_exit(128 + passed_on[i][1]); /* only output is left */
	}
	errno = saved;
}

static void on_resize(int sig)
{
	int saved = errno;
	struct winsize size;
	(void)sig;
	if (sized_master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(sized_master, TIOCSWINSZ, &size);
	errno = saved;
}

void relay_catch_signals(bool terminal)
{
	struct sigaction action = {.sa_handler = on_child};
	on_terminal = terminal;
	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&action.sa_mask); /* the handlers share state: one at a time */
	sigaction(SIGCHLD, &action, NULL);
	action.sa_flags = SA_RESTART;
	action.sa_handler = on_resize;
	sigaction(SIGWINCH, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* On a terminal, to end is to hang up: the master goes, and the kernel tells the session inside. */
	for (size_t i = 0; i < N_PASSED_ON && !terminal; i++) {
		action.sa_handler = on_signal;
		sigaction(passed_on[i][0], &action, NULL);
		signal(passed_on[i][1], SIG_IGN);
	}
	/* A Node that was killed is a connection that was lost. */
	prctl(PR_SET_PDEATHSIG, terminal ? SIGHUP : SIGVTALRM, 0, 0, 0);
}

pid_t relay_fork(void)
{
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old); /* until the handlers know who they are in */
	pid_t pid = _Fork();
	if (pid == 0)
		setsid();
	else
		parent = pid;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
}

void relay_starter(pid_t pid)
{
	starter = pid;
}

static int wait_for(volatile int *status)
{
	sigset_t child, old;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old);
	while (*status < 0) {
		sigset_t wait_mask = old;
		sigdelset(&wait_mask, SIGCHLD);
		sigsuspend(&wait_mask);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
}

int relay_status(void)
{
	return wait_for(&inside_status);
}

static bool is_inside(pid_t pid)
{
	sigset_t all, old;
	siginfo_t info;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	/* Only a child of ours is ever sent a signal; one that was reaped already is no longer asked for. */
	bool believed = inside_status >= 0 ||
			(pid > 0 && pid != starter && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
	if (believed)
		inside = pid;
	if (believed && early_signal)
		pass_on(early_signal);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return believed;
}

_Noreturn void relay_reap(int told)
{
	pid_t pid;
	ssize_t n;
	/* Nothing of the caller's is held: who reads the output waits for its end. */
	dup2(told, STDIN_FILENO);
	close_from(STDIN_FILENO + 1);
	while ((n = read(STDIN_FILENO, &pid, sizeof pid)) < 0 && errno == EINTR)
		;
	if (n != sizeof pid)
		_exit(wait_for(&starter_status));
	_exit(is_inside(pid) ? relay_status() : 1);
}

void relay_follow_size(int master)
{
	sized_master = master;
	on_resize(SIGWINCH);
}

/* ---- one direction ---- */

struct flow {
	int from, to; /* from < 0: it has ended */
	bool input;   /* to the inside */
	size_t chunk; /* bytes that can be written without blocking once poll says so */
	size_t off, len;
	size_t left;  /* bytes still to be read */
	char buf[65536];
};

static struct flow flows[3];
static int n_flows;
static bool ending; /* the process inside has ended: only what is there already is copied */
static bool output_lost;

/* O_NONBLOCK belongs to the open file, which a descriptor of the caller's shares with others: not set there. */
static void unblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static size_t safe_chunk(int fd)
{
	struct stat st;
	if ((fcntl(fd, F_GETFL) & O_NONBLOCK) || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return sizeof flows[0].buf;
	return 4096; /* PIPE_BUF: what a pipe with room takes at once */
}

static void add_flow(int from, int to, bool input)
{
	struct flow *f = &flows[n_flows++];
	*f = (struct flow){.from = from, .to = to, .input = input, .chunk = safe_chunk(to), .left = SIZE_MAX};
}

static void end_flow(struct flow *f)
{
	/* Our own end is closed, so that the process inside sees the end of its input, or SIGPIPE. */
	if (!on_terminal)
		close(f->input ? f->to : f->from);
	f->from = -1;
	f->len = 0;
	if (on_terminal && f->input)
		_exit(128 + SIGHUP); /* Node is gone, and with us the master goes: the kernel hangs up inside */
}

static void fill(struct flow *f)
{
	size_t room = f->left < sizeof f->buf ? f->left : sizeof f->buf;
	ssize_t n = room ? read(f->from, f->buf, room) : 0;
	if (n > 0) {
		f->off = 0;
		f->len = (size_t)n;
		f->left -= ending ? (size_t)n : 0;
	} else if (n == 0 || ending || (errno != EINTR && errno != EAGAIN)) {
		end_flow(f);
	}
}

static void empty(struct flow *f)
{
	ssize_t n = write(f->to, f->buf + f->off, f->len < f->chunk ? f->len : f->chunk);
	if (n >= 0) {
		f->off += (size_t)n;
		f->len -= (size_t)n;
	} else if (errno != EINTR && errno != EAGAIN) {
		if (!f->input && errno != EPIPE) {
			complain(ENTER_PREFIX "cannot pass on output", NULL, errno);
			output_lost = true;
		}
		end_flow(f);
	}
}

static int add_polls(struct pollfd *polls)
{
	int n = 0;
	for (int i = 0; i < n_flows; i++) {
		struct flow *f = &flows[i];
		bool open = f->from >= 0;
		polls[n++] = (struct pollfd){.fd = open && f->len == 0 ? f->from : -1, .events = POLLIN};
		/* No events: an error still shows, as when the process inside has closed its stdin. */
		polls[n++] = (struct pollfd){.fd = open && (f->len || f->input) ? f->to : -1, .events = f->len ? POLLOUT : 0};
	}
	polls[n++] = (struct pollfd){.fd = ending ? -1 : wake, .events = POLLIN};
	return n;
}

static void copy_ready(const struct pollfd *polls)
{
	for (int i = 0; i < n_flows; i++) {
		struct flow *f = &flows[i];
		bool readable = polls[2 * i].revents, writable = polls[2 * i + 1].revents;
		if (f->len && writable)
			empty(f);
		else if (writable) /* an input whose reader is gone: what is left of it stays the caller's */
			end_flow(f);
		else if (readable)
			fill(f);
	}
}

static void begin_end(void)
{
	ending = true;
	for (int i = 0; i < n_flows; i++) {
		if (flows[i].input)
			flows[i].from = -1;
		else
			flows[i].left = DRAIN_BYTES;
	}
}

/* While the process ends, what is there is read without waiting. A read of a pty first waits for the
 * kernel's own queue (n_tty_read), so that EAGAIN means there is nothing indeed. */
static bool copy_rest(void)
{
	bool more = false;
	for (int i = 0; i < n_flows; i++) {
		if (flows[i].from >= 0 && flows[i].len == 0)
			fill(&flows[i]);
		more |= flows[i].from >= 0;
	}
	return more;
}

int relay_run(const struct relayed *r)
{
	if (r->terminal) {
		unblock(STDIN_FILENO); /* one open file for all of our stdio, node-pty's slave, used by nobody else */
		unblock(r->in);
	} else {
		unblock(r->in);
		unblock(r->err);
	}
	unblock(r->out);
	add_flow(STDIN_FILENO, r->in, true);
	add_flow(r->out, STDOUT_FILENO, false);
	if (!r->terminal)
		add_flow(r->err, STDERR_FILENO, false);
	for (;;) {
		struct pollfd polls[2 * 3 + 1];
		if (inside_status >= 0 && !ending)
			begin_end();
		if (ending && !copy_rest())
			return relay_status() || !output_lost ? relay_status() : 1;
		int n = add_polls(polls);
		if (poll(polls, (nfds_t)n, -1) > 0)
			copy_ready(polls);
	}
}

void relay_pass_text(int from)
{
	char buf[4096];
	unblock(from);
	for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;)
		write_all(STDERR_FILENO, buf, (size_t)n);
}
