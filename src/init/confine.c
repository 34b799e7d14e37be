/* Capabilities: what a subhost's root keeps of them, and the system calls that would lead round what it lacks. */
#include "init.h"
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* The architectures whose calls this kernel may run, this one first; their numbers in that order, 32 bits have others. */
#if defined __x86_64__
#define ARCHITECTURES AUDIT_ARCH_X86_64, AUDIT_ARCH_I386
#define CALL(name, i386, arm) {SYS_##name, i386}
#elif defined __aarch64__
#define ARCHITECTURES AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM
#define CALL(name, i386, arm) {SYS_##name, arm}
#else
#define CALL(name, i386, arm) {SYS_##name}
#if defined __i386__
#define ARCHITECTURES AUDIT_ARCH_I386
#elif defined __arm__
#define ARCHITECTURES AUDIT_ARCH_ARM
#elif defined __riscv
#define ARCHITECTURES AUDIT_ARCH_RISCV64
#elif defined __powerpc64__
#define ARCHITECTURES AUDIT_ARCH_PPC64LE
#else
#error "which audit architecture is this, and which argument of clone(2) has the flags?"
#endif
#endif
static const uint32_t architectures[] = {ARCHITECTURES};
#define N_ARCHITECTURES (sizeof architectures / sizeof *architectures)
#define X32_BIT 0x40000000 /* x86-64 has the same numbers a second time */

/*
 * What is refused to whoever lacks the capability. The kernel itself asks for none where an administrator has not
 * told it to (kernel.dmesg_restrict, kernel.unprivileged_bpf_disabled, kernel.perf_event_paranoid), or for none at
 * all; container engines refuse the same. Keys, since those of user 0 are the host's root's too.
 */
#define ALWAYS 63 /* no such capability */
static const struct {
	uint16_t number[N_ARCHITECTURES];
	uint8_t unless;
} refused[] = {
	{CALL(add_key, 286, 309), ALWAYS},
	{CALL(request_key, 287, 310), ALWAYS},
	{CALL(keyctl, 288, 311), ALWAYS},
	{CALL(userfaultfd, 374, 388), ALWAYS},
	{CALL(io_uring_setup, 425, 425), ALWAYS},
	{CALL(syslog, 103, 103), CAP_SYSLOG},
	{CALL(perf_event_open, 336, 364), CAP_PERFMON},
	{CALL(bpf, 357, 386), CAP_BPF},
};
static const uint16_t cloning[][N_ARCHITECTURES] = {CALL(clone, 120, 120), CALL(unshare, 310, 337)};

static struct sock_filter filter[128];
static unsigned short n_filter;

static void add(uint16_t code, uint32_t value, uint8_t yes, uint8_t no)
{
	filter[n_filter++] = (struct sock_filter)BPF_JUMP(code, value, yes, no);
}

#define LOAD(field) add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field), 0, 0)
#define UNLESS(test, value, skip) add(BPF_JMP | (test) | BPF_K, value, 0, skip)
#define RETURN(value) add(BPF_RET | BPF_K, value, 0, 0)
#define REFUSE(err) RETURN(SECCOMP_RET_ERRNO | (err))

/*
 * No user namespaces: in one of its own, root inside has every capability, and can mount control groups, its own to
 * lift its limits and those of v1 from the host's root.
 */
static int filter_calls(uint64_t keep)
{
	n_filter = 0;
	LOAD(arch);
	for (size_t a = 0; a < N_ARCHITECTURES; a++) {
		struct sock_filter *section = filter + n_filter;
		UNLESS(BPF_JEQ, architectures[a], 0);
		LOAD(nr);
		add(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)X32_BIT, 0, 0);
		for (int i = 0; i < 2; i++) {
			UNLESS(BPF_JEQ, cloning[i][a], 4);
			LOAD(args[0]);
			UNLESS(BPF_JSET, CLONE_NEWUSER, 1);
			REFUSE(EPERM);
			RETURN(SECCOMP_RET_ALLOW);
		}
		UNLESS(BPF_JEQ, SYS_clone3, 1);
		REFUSE(ENOSYS); /* its flags cannot be seen, and the C library takes clone(2) then */
		for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
			if (!(keep >> refused[i].unless & 1)) {
				UNLESS(BPF_JEQ, refused[i].number[a], 1);
				REFUSE(EPERM);
			}
		RETURN(SECCOMP_RET_ALLOW);
		section->jf = (uint8_t)(filter + n_filter - section - 1);
	}
	REFUSE(EPERM);
	struct sock_fprog program = {.len = n_filter, .filter = filter};
	/* SPEC_ALLOW: a filter alone is no reason to slow all of it down, as Linux before 5.16 would */
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}

int keep_capabilities(uint64_t keep)
{
	/* Who may mount needs no way round; and first, since it takes that capability itself. */
	if (!(keep >> CAP_SYS_ADMIN & 1) && filter_calls(keep) < 0)
		return -1;
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
