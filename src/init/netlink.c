/* The two rtnetlink(7) requests that the end of a subhost needs, when no Node is there to make them. */
#include "wire.h"
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

struct link_request {
	struct nlmsghdr head;
	struct ifinfomsg info;
	char attributes[64];
};

/* Sends a request about the link `name`; the answer's length, or -1 with the errno that the kernel gave. */
static ssize_t ask(uint16_t type, uint16_t flags, const char *name, char *answer, size_t size)
{
	size_t name_len = strlen(name) + 1;
	if (name_len > IFNAMSIZ) {
		errno = ENODEV;
		return -1;
	}
	struct link_request request = {
		.head = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags), .nlmsg_seq = 1},
		.info = {.ifi_family = AF_UNSPEC},
	};
	struct rtattr *attribute = (struct rtattr *)request.attributes;
	attribute->rta_type = IFLA_IFNAME;
	attribute->rta_len = (uint16_t)RTA_LENGTH(name_len);
	memcpy(RTA_DATA(attribute), name, name_len);
	request.head.nlmsg_len = NLMSG_LENGTH(sizeof request.info) + (uint32_t)RTA_ALIGN(attribute->rta_len);

	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -1;
	ssize_t got = -1;
	if (send(fd, &request, request.head.nlmsg_len, 0) > 0)
		do
			got = recv(fd, answer, size, 0);
		while (got < 0 && errno == EINTR);
	int err = errno;
	close(fd);
	errno = err;
	struct nlmsghdr *head = (struct nlmsghdr *)answer;
	if (got < (ssize_t)sizeof *head)
		return -1;
	if (head->nlmsg_type == NLMSG_ERROR) {
		struct nlmsgerr *error = NLMSG_DATA(head);
		errno = -error->error;
		return error->error ? -1 : got;
	}
	return got;
}

int link_alias(const char *name, char *alias, size_t size)
{
	_Alignas(struct nlmsghdr) char answer[8192];
	alias[0] = '\0';
	if (ask(RTM_GETLINK, 0, name, answer, sizeof answer) < 0)
		return errno == ENODEV ? 0 : -1;
	struct nlmsghdr *head = (struct nlmsghdr *)answer;
	struct ifinfomsg *info = NLMSG_DATA(head);
	int left = (int)IFLA_PAYLOAD(head);
	for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_IFALIAS && RTA_PAYLOAD(a) < size) {
			memcpy(alias, RTA_DATA(a), RTA_PAYLOAD(a));
			alias[RTA_PAYLOAD(a)] = '\0';
		}
	return 1;
}

int delete_link(const char *name)
{
	_Alignas(struct nlmsghdr) char answer[1024];
	if (ask(RTM_DELLINK, NLM_F_ACK, name, answer, sizeof answer) >= 0 || errno == ENODEV)
		return 0;
	return -1;
}
