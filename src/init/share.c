/*
 * overlay-share: bind mounts of a running subhost, attached and detached while its record is locked.
 *
 * usage: init share STATE_FILE        requests on stdin, replies on stdout
 *
 * The record is locked as long as this process lives, so that two overlay-share at once do not lose one
 * another's entry, and no lock file is needed. A request is a verb and its arguments, each ended by NUL;
 * the answer is a line, "ok VALUE" or "no REASON". What was added and not kept when stdin ends is taken
 * back: Node failed, or was killed, before it was on record.
 *
 *   add PID START_TIME HOST INSIDE ro|rw     ok MOUNT_ID
 *   keep                                     ok; after an add
 *   check PID START_TIME HOST INSIDE ID      ok yes|no: is that share, of that mount id, there still?
 *   remove PID START_TIME HOST INSIDE ID     ok; without an id (0) what lies there must be HOST itself
 */
#include "init.h"
#include <sys/file.h>

#define ARGS_MAX 6

/* The host's /proc, opened before the other namespace: what the subhost has at its /proc is never looked at. */
static int host_proc = -1;

struct place { /* what lies at a path inside */
	uint64_t mount_id;
	bool mount_root;
	dev_t dev;
	ino_t ino;
};

/*
 * Unique ids are never used again, and start above what the old ones reach; where the kernel has none, the
 * old one has to do.
 */
static bool look_at(int fd, struct place *place)
{
	struct statx_head got;
	struct stat st;
	unsigned wanted = STATX_MOUNT_ID_UNIQUE;
	if (sys_statx(fd, wanted, &got) < 0 || fstat(fd, &st) < 0)
		return false;
	if (!(got.mask & wanted) && sys_statx(fd, STATX_MOUNT_ID, &got) < 0)
		return false;
	*place = (struct place){got.mount_id, got.attributes & STATX_IS_MOUNT_ROOT, st.st_dev, st.st_ino};
	return true;
}

/* "no WHAT: WHY", WHY being the errno's text where there is none; returns -1. */
static int refuse(struct text *reply, const char *what, const char *why)
{
	int err = errno;
	reply->len = 0;
	text_str(reply, "no ");
	text_str(reply, what);
	if (why || err) {
		text_str(reply, ": ");
		text_str(reply, why ? why : strerror(err));
	}
	return -1;
}

/* Enters the mount namespace of that very pid 1; the result is a descriptor of its root, or -1. */
static int join(char *const *args, struct text *reply)
{
	pid_t pid = (pid_t)parse_num(args[1]);
	int pidfd = pid > 0 ? sys_pidfd_open(pid) : -1;
	/* After the descriptor: a process of that pid and start time is the one that the descriptor means. */
	if (pidfd < 0 || start_time_ticks(pid) != parse_num(args[2]))
		return refuse(reply, "the subhost has ended", "its pid 1 is gone");
	int root = -1;
	/* setns(2) makes the namespace's root our root and working directory */
	if (setns(pidfd, CLONE_NEWNS) == 0)
		root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root >= 0 ? root : refuse(reply, "enter the mount namespace", NULL);
}

/* A detached clone of the host's directory or file, fit for a subhost; -1 with the reply. */
static int clone_tree(const char *host, bool read_only, bool *directory, struct text *reply)
{
	struct stat st;
	int tree = sys_open_tree(AT_FDCWD, host, OPEN_TREE_CLONE);
	if (tree < 0 || fstat(tree, &st) < 0)
		return refuse(reply, "open it", NULL);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return refuse(reply, "it is a device", "a share has no devices");
	*directory = S_ISDIR(st.st_mode);
	/* Private: what is mounted below it on either side is not seen on the other. */
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0)
		return refuse(reply, "make the mount private", NULL);
	return tree;
}

/* Exactly this mount: no path is resolved in the subhost. */
static int unmount(int fd)
{
	struct text path = {0};
	text_str(&path, "self/fd/");
	text_num(&path, fd);
	return fchdir(host_proc) < 0 ? -1 : sys_umount(path.buf, MNT_DETACH);
}

static int add(char *const *args, struct text *reply)
{
	bool directory = false;
	const char *why = NULL;
	struct place at, top, mounted;
	int tree = clone_tree(args[3], strcmp(args[5], "ro") == 0, &directory, reply);
	int root = tree < 0 ? -1 : join(args, reply);
	if (root < 0)
		return -1;
	int target = open_target(root, args[4], directory, true, &why);
	if (target < 0)
		return refuse(reply, "the path inside", why);
	if (!look_at(target, &at) || !look_at(root, &top) || !look_at(tree, &mounted))
		return refuse(reply, "statx", NULL);
	if (at.mount_id == top.mount_id && at.ino == top.ino)
		return refuse(reply, "the path inside", "is the subhost's root");
	if (sys_move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return refuse(reply, "mount it", NULL);
	text_str(reply, "ok ");
	text_num(reply, (long long)mounted.mount_id);
	return tree;
}

/* The descriptor of the share that check and remove mean, or -1 with the reply. */
static int open_share(char *const *args, struct text *reply)
{
	struct place place;
	struct stat host;
	long long id = parse_num(args[5]);
	bool know_host = id == 0 && stat(args[3], &host) == 0; /* on the host: before the other namespace */
	int root = join(args, reply);
	if (root < 0)
		return -1;
	int fd = sys_openat2(root, args[4], O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (fd < 0 || !look_at(fd, &place))
		return refuse(reply, "nothing is shared there", NULL);
	bool is_host = know_host && place.dev == host.st_dev && place.ino == host.st_ino;
	if (place.mount_root && (id > 0 ? place.mount_id == (uint64_t)id : is_host))
		return fd;
	return refuse(reply, "nothing is shared there", place.mount_root ? "another mount is" : "no mount is");
}

static int check(char *const *args, struct text *reply)
{
	bool there = open_share(args, reply) >= 0;
	reply->len = 0;
	text_str(reply, there ? "ok yes" : "ok no");
	return -1;
}

static int detach(char *const *args, struct text *reply)
{
	int fd = open_share(args, reply);
	if (fd < 0)
		return -1;
	if (unmount(fd) < 0)
		return refuse(reply, "unmount it", NULL);
	text_str(reply, "ok");
	return -1;
}

static const struct verb {
	const char *name;
	int args;
	/* Runs in a process of its own; returns a mount's descriptor that may have to be taken back, or -1. */
	int (*run)(char *const *args, struct text *reply);
} verbs[] = {
	{"add", 6, add},
	{"check", 6, check},
	{"remove", 6, detach},
	{"keep", 1, NULL},
};

struct request {
	const struct verb *verb;
	char *args[ARGS_MAX];
	char buf[4 * PATH_BYTES];
};

/* False at the end of stdin, and for what is no request. */
static bool read_request(struct request *request)
{
	size_t len = 0;
	request->verb = NULL;
	for (int n = 0; !request->verb || n < request->verb->args; n++) {
		request->args[n] = request->buf + len;
		do
			if (len == sizeof request->buf || read(STDIN_FILENO, request->buf + len, 1) <= 0)
				return false;
		while (request->buf[len++] != '\0');
		for (size_t i = 0; n == 0 && i < sizeof verbs / sizeof *verbs; i++)
			if (strcmp(request->buf, verbs[i].name) == 0)
				request->verb = &verbs[i];
		if (!request->verb)
			return false;
	}
	return true;
}

static bool answer(int to, struct text *reply)
{
	text_str(reply, "\n");
	return write_all(to, reply->buf, reply->len);
}

/*
 * Runs a request in a child, since setns(2) has no way back; the result is our end of a socket to it, or
 * -1. It lives until a byte or an end of file comes over that; without a byte it takes the mount back, by
 * its descriptor: the subhost may have changed what the path means.
 */
static int run(const struct request *request, struct text *reply)
{
	int ends[2];
	char kept;
	*reply = (struct text){0};
	pid_t pid = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -1 : _Fork();
	if (pid < 0)
		return refuse(reply, "fork", NULL);
	if (pid == 0) {
		close(ends[0]);
		host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		int mounted = request->verb->run(request->args, reply);
		answer(ends[1], reply);
		if (mounted >= 0 && read(ends[1], &kept, 1) != 1)
			unmount(mounted);
		_exit(0);
	}
	close(ends[1]);
	while (reply->len < sizeof reply->buf - 1 && read(ends[0], reply->buf + reply->len, 1) == 1 &&
	       reply->buf[reply->len] != '\n')
		reply->len++;
	return ends[0];
}

/* The record's descriptor, locked, and still the record when it was: it is replaced by rename. */
static int lock_record(const char *path)
{
	for (;;) {
		struct stat held, there;
		int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -1;
		while (flock(fd, LOCK_EX) < 0)
			if (errno != EINTR)
				return -1;
		if (fstat(fd, &held) < 0 || stat(path, &there) < 0)
			return -1;
		if (held.st_ino == there.st_ino && held.st_dev == there.st_dev)
			return fd;
		close(fd);
	}
}

int share_main(int argc, char **argv)
{
	static struct request request;
	struct text reply = {0};
	int job = -1;
	if (argc != 1)
		return complain("usage: init", "share STATE_FILE", 0);
	/* A ^C is Node's business: it closes our stdin. */
	for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGPIPE, 0}; *s; s++)
		signal(*s, SIG_IGN);
	if (lock_record(argv[0]) < 0)
		return complain("lock", argv[0], errno);
	text_str(&reply, "ok");
	while (answer(STDOUT_FILENO, &reply) && read_request(&request)) {
		bool keep = !request.verb->run;
		if (job >= 0) {
			if (keep)
				write_all(job, "k", 1);
			close(job);
		}
		waitpid(-1, NULL, 0);
		reply = (struct text){0};
		job = -1;
		if (keep)
			text_str(&reply, "ok");
		else
			job = run(&request, &reply);
	}
	if (job >= 0)
		close(job);
	waitpid(-1, NULL, 0);
	return 0;
}
