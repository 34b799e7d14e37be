/* Capabilities: what a subhost's root keeps of them, and the system calls that would lead round what it lacks. */
#include "init.h"
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* Numbers of clone, unshare and add_key, after which come request_key and keyctl; 32 bits have others. */
#if defined __x86_64__
#define NATIVE AUDIT_ARCH_X86_64
#define NARROW AUDIT_ARCH_I386, 120, 310, 286
#elif defined __aarch64__
#define NATIVE AUDIT_ARCH_AARCH64
#define NARROW AUDIT_ARCH_ARM, 120, 337, 309
#elif defined __i386__
#define NATIVE AUDIT_ARCH_I386
#elif defined __arm__
#define NATIVE AUDIT_ARCH_ARM
#elif defined __riscv
#define NATIVE AUDIT_ARCH_RISCV64
#elif defined __powerpc64__
#define NATIVE AUDIT_ARCH_PPC64LE
#else
#error "which audit architecture is this, and which argument of clone(2) has the flags?"
#endif
#define X32_BIT 0x40000000 /* x86-64 has the same numbers a second time */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, yes, no)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSE(err) RETURN(SECCOMP_RET_ERRNO | (err))
#define SECTION 9
/* The calls of one architecture; `rest`: how many instructions are between this and the end's first. */
#define CALLS(arch, clone, unshare, add_key, rest)                                                    \
	JUMP(BPF_JEQ, arch, 0, SECTION - 1), LOAD(nr),                                                \
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT), JUMP(BPF_JEQ, clone, (rest) + 6, 0),   \
		JUMP(BPF_JEQ, unshare, (rest) + 5, 0), JUMP(BPF_JEQ, SYS_clone3, (rest) + 3, 0),      \
		JUMP(BPF_JGE, add_key, 0, (rest) + 6), JUMP(BPF_JGT, (add_key) + 2, (rest) + 5, 0),   \
		REFUSE(EPERM)
#define CALLS_OF(...) CALLS(__VA_ARGS__)

/*
 * No user namespaces: in one of its own, root inside has every capability, and can mount control groups, its own to
 * lift its limits and those of v1 from the host's root. And no keys: those of user 0 are the host's root's too.
 */
static int filter_calls(void)
{
	static struct sock_filter filter[] = {
		LOAD(arch),
#ifdef NARROW
		CALLS_OF(NARROW, SECTION),
#endif
		CALLS(NATIVE, SYS_clone, SYS_unshare, SYS_add_key, 0),
		REFUSE(ENOSYS), /* clone3: its flags cannot be seen, and the C library takes clone(2) then */
		LOAD(args[0]),
		JUMP(BPF_JSET, CLONE_NEWUSER, 0, 1),
		REFUSE(EPERM),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
	/* SPEC_ALLOW: a filter alone is no reason to slow all of it down, as Linux before 5.16 would */
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}

int keep_capabilities(uint64_t keep)
{
	/* Who may mount needs no way round; and first, since it takes that capability itself. */
	if (!(keep >> CAP_SYS_ADMIN & 1) && filter_calls() < 0)
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
