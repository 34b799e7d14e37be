/** Capabilities by name, capabilities(7) and linux/capability.h, and what a subhost keeps of them. Pure. */
import type { SubhostConfig } from './subhost-config.js';

/** Name without `CAP_`; the place in the list is the number. */
export const CAPABILITIES: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
];

/**
 * Docker's default list (moby, oci/caps/defaults.go) without MKNOD: device nodes are given, not made. NET_ADMIN is
 * added: the network namespace is the subhost's own.
 */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'NET_ADMIN',
  'NET_RAW',
  'SYS_CHROOT',
  'AUDIT_WRITE',
  'SETFCAP',
];

/**
 * What counts in a user namespace other than the initial one, and towards the subhost's own: the kernel asks for the
 * others there, by capable(). AUDIT_WRITE is asked for there too; services take the refusal for a kernel without audit.
 */
const NAMESPACED: readonly string[] = [
  ...DEFAULT_CAPABILITIES,
  'DAC_READ_SEARCH',
  'NET_BROADCAST',
  'SYS_PTRACE',
];

/**
 * Does the subhost get a user namespace, so that what it keeps counts for nothing of the host's? Not where it is
 * given what would then count for nothing at all.
 * @param caps  undefined: all
 */
export const hasUserNamespace = (caps: readonly string[] | undefined): boolean =>
  caps?.every((name) => NAMESPACED.includes(name)) ?? false;

/** What CAPS opens without saying so, one line each: for a conf that keeps NET_ADMIN where it counts on the host. */
export function capabilityWarnings({
  conf,
  caps,
  cables,
}: Pick<SubhostConfig, 'conf' | 'caps' | 'cables'>): string[] {
  if (!caps?.includes('NET_ADMIN') || hasUserNamespace(caps) || cables.length === 0) return [];
  const given = caps.filter((name) => !NAMESPACED.includes(name)).join(', ');
  return [
    `${conf}: CAPS: ${given} counts on the host only, so the subhost has no user namespace of its own, and its NET_ADMIN reaches the host's interfaces over its cables: add -NET_ADMIN where that is not meant`,
  ];
}

/**
 * The set as the kernel has it, bit n for capability n.
 * @param caps  names of the table; undefined means all, those a later kernel adds too
 */
export function capabilityMask(caps: readonly string[] | undefined): bigint {
  if (caps === undefined) return (1n << 64n) - 1n;
  return caps.reduce((mask, name) => mask | bitOf(name), 0n);
}

function bitOf(name: string): bigint {
  const number = CAPABILITIES.indexOf(name);
  if (number < 0) throw new RangeError(`no capability ${name}`);
  return 1n << BigInt(number);
}
