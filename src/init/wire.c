#include "wire.h"

bool send_frame(int fd, uint16_t index, uint16_t type, const char *const *strings)
{
	char buf[sizeof(struct frame) + 4096];
	struct frame head = {.index = index, .type = type};
	size_t at = sizeof head;
	for (; strings && *strings; strings++) {
		size_t len = strlen(*strings);
		if (len > sizeof buf - 1 - at)
			len = sizeof buf - 1 - at;
		memcpy(buf + at, *strings, len);
		at += len;
		buf[at++] = '\0';
		if (at == sizeof buf)
			break;
	}
	head.len = (uint32_t)(at - sizeof head);
	memcpy(buf, &head, sizeof head);
	/* One sendmsg: several keepers share the socket, and a stream socket keeps each message in one piece. */
	return send_fds(fd, buf, at, NULL, 0) == 0;
}

static bool read_all(int fd, void *buf, size_t len)
{
	char *p = buf;
	while (len) {
		ssize_t n = read(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool read_frame(int fd, struct frame *head, char **payload, size_t *room)
{
	if (!read_all(fd, head, sizeof *head) || head->len > FRAME_BYTES_MAX)
		return false;
	if (head->len + 1 > *room) {
		char *grown = resize(*payload, *room, head->len + 1);
		if (!grown)
			return false;
		*payload = grown;
		*room = head->len + 1;
	}
	if (!read_all(fd, *payload, head->len))
		return false;
	(*payload)[head->len] = '\0';
	return true;
}

const char *next_string(const char *payload, size_t len, size_t *at)
{
	if (*at >= len)
		return NULL;
	const char *s = payload + *at;
	*at += strlen(s) + 1;
	return s;
}
