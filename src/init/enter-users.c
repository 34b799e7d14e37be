/*
 * Users and groups of the root this process is in: passwd(5) and group(5), read by hand. musl's getpwnam
 * would bring stdio along, and ask an nscd.
 */
#include "enter.h"

struct lines {
	int fd;
	size_t len, pos;
	bool skip; /* in the rest of a line that was too long */
	char buf[32768];
};

static bool open_lines(struct lines *l, const char *path)
{
	struct stat st;
	/* O_NONBLOCK: the root is somebody else's, and this may be a fifo */
	l->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	l->len = l->pos = 0;
	l->skip = false;
	if (l->fd >= 0 && fstat(l->fd, &st) == 0 && S_ISREG(st.st_mode))
		return true;
	if (l->fd >= 0)
		close(l->fd);
	return false;
}

/* The next line without its newline, or NULL at the end, when the file is closed. */
static char *next_line(struct lines *l)
{
	for (;;) {
		char *start = l->buf + l->pos;
		char *end = memchr(start, '\n', l->len - l->pos);
		if (end) {
			bool rest_of_long = l->skip;
			*end = '\0';
			l->pos = (size_t)(end + 1 - l->buf);
			l->skip = false;
			if (!rest_of_long)
				return start;
			continue;
		}
		if (l->len - l->pos >= sizeof l->buf - 1) { /* no line of ours */
			l->skip = true;
			l->len = l->pos = 0;
		}
		memmove(l->buf, l->buf + l->pos, l->len - l->pos);
		l->len -= l->pos;
		l->pos = 0;
		ssize_t n = read(l->fd, l->buf + l->len, sizeof l->buf - 1 - l->len);
		if (n > 0) {
			l->len += (size_t)n;
			continue;
		}
		close(l->fd);
		l->fd = -1;
		if (l->len == 0 || l->skip)
			return NULL;
		l->buf[l->len] = '\0';
		l->len = l->pos = 0;
		return l->buf;
	}
}

static struct lines lines;

static bool copy_text(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);
	if (len >= size)
		return false;
	memcpy(to, from, len + 1);
	return true;
}

/* name:password:uid:gid:comment:home:shell */
static bool parse_account(char *line, struct account *a)
{
	char *field[7];
	for (int i = 0; i < 7; i++)
		field[i] = strsep(&line, ":");
	if (!field[6] || !*field[0])
		return false;
	long long uid = parse_num(field[2]), gid = parse_num(field[3]);
	if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return false;
	a->uid = (uid_t)uid;
	a->gid = (gid_t)gid;
	return copy_text(a->name, sizeof a->name, field[0]) && copy_text(a->home, sizeof a->home, field[5]) &&
	       copy_text(a->shell, sizeof a->shell, field[6]);
}

static bool is_member(char *members, const char *name)
{
	for (char *member; (member = strsep(&members, ",")) != NULL;)
		if (strcmp(member, name) == 0)
			return true;
	return false;
}

/* name:password:gid:member,member */
static void find_groups(struct account *a)
{
	a->n_groups = 0;
	a->groups[a->n_groups++] = a->gid;
	if (!open_lines(&lines, "/etc/group"))
		return;
	for (char *line; (line = next_line(&lines)) != NULL;) {
		char *field[4];
		for (int i = 0; i < 4; i++)
			field[i] = strsep(&line, ":");
		long long gid = field[3] ? parse_num(field[2]) : -1;
		if (gid >= 0 && gid < UINT32_MAX && gid != a->gid && a->n_groups < MAX_GROUPS && is_member(field[3], a->name))
			a->groups[a->n_groups++] = (gid_t)gid;
	}
}

/* A name holds before a number, as for chown(1). */
bool find_account(const char *wanted, struct account *a)
{
	long long number = parse_num(wanted);
	bool found = false, by_name = false;
	struct account other;
	if (!open_lines(&lines, "/etc/passwd"))
		return false;
	for (char *line; (line = next_line(&lines)) != NULL;) {
		if (by_name || !parse_account(line, &other))
			continue;
		by_name = strcmp(other.name, wanted) == 0;
		if (by_name || (!found && other.uid == number)) {
			*a = other;
			found = true;
		}
	}
	if (found)
		find_groups(a);
	return found;
}
