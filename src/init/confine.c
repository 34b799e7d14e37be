/* Capabilities: what a subhost's root keeps of them. */
#include "init.h"
#include <linux/capability.h>

int keep_capabilities(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		if (keep >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			break; /* past the last capability this kernel knows */
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -1;
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* Linux < 4.3 has none to clear */
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct have[2];
	if (syscall(SYS_capget, &header, have) < 0)
		return -1;
	for (int half = 0; half < 2; half++) {
		uint32_t mask = (uint32_t)(keep >> (32 * half));
		have[half].permitted &= mask;
		have[half].effective = have[half].permitted;
		/* Inheritable stays empty: with it, a program that gave up root could get capabilities back by a
		 * file that asks for them (CVE-2022-24769). */
		have[half].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, have);
}
