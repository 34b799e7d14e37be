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

/* A number of at least two digits, and what comes after it. */
static void text_pair(struct text *t, int n, const char *after)
{
	text_str(t, n < 10 ? "0" : "");
	text_num(t, n);
	text_str(t, after);
}

/* By hand, since strftime(3) brings along printf and the time zones: a fifth of the program. */
void text_time(struct text *t, time_t when)
{
	long long days = when / 86400, seconds = when % 86400;
	/* Years begin in March here, so that a leap day is the last one; an era is 400 years. */
	days += 719468; /* from 0000-03-01 to 1970-01-01 */
	long long era = days / 146097, day = days % 146097;
	long long year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	int month = (int)(5 * day + 2) / 153; /* 0 is March */
	text_num(t, era * 400 + year + (month >= 10));
	text_str(t, "-");
	text_pair(t, month < 10 ? month + 3 : month - 9, "-");
	text_pair(t, (int)day - (153 * month + 2) / 5 + 1, "T");
	text_pair(t, (int)(seconds / 3600), ":");
	text_pair(t, (int)(seconds / 60 % 60), ":");
	text_pair(t, (int)(seconds % 60), "Z");
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

bool parse_hex(const char *s, uint64_t *n)
{
	static const char digits[] = "0123456789abcdef";
	size_t len = strlen(s);
	*n = 0;
	for (; *s; s++) {
		const char *digit = strchr(digits, *s);
		if (!digit)
			return false;
		*n = *n << 4 | (uint64_t)(digit - digits);
	}
	return len > 0 && len <= 16;
}
