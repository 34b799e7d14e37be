/* Text without stdio: the resident modes cannot afford its buffers. */
#include "init.h"

void text_str(struct text *t, const char *s)
{
	while (*s && t->len < sizeof t->buf - 1)
		t->buf[t->len++] = *s++;
}

void text_num(struct text *t, long long n)
{
	char digits[24];
	int i = sizeof digits;
	unsigned long long u = n < 0 ? -(unsigned long long)n : (unsigned long long)n;
	digits[--i] = '\0';
	do
		digits[--i] = (char)('0' + u % 10);
	while (u /= 10);
	if (n < 0)
		digits[--i] = '-';
	text_str(t, digits + i);
}

const char *text_end(struct text *t)
{
	t->buf[t->len] = '\0';
	return t->buf;
}

int complain(const char *what, const char *path, int err)
{
	struct text t = {0};
	text_str(&t, what);
	if (path) {
		text_str(&t, " ");
		text_str(&t, path);
	}
	if (err) {
		text_str(&t, ": ");
		text_str(&t, strerror(err));
	}
	text_str(&t, "\n");
	write_all(STDERR_FILENO, t.buf, t.len);
	return 1;
}

long long parse_num(const char *s)
{
	long long n = 0;
	if (!*s)
		return -1;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > LLONG_MAX / 10 - 1)
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n;
}
