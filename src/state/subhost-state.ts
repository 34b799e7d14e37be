/**
 * The record of a subhost: RUN/NAME/state.json, RUN being /run/overlay-boot unless the settings say
 * otherwise. The directory RUN/NAME itself is the lock: the keeper holds an flock(2) on it for as long as
 * the subhost lives. Written by overlay-boot and overlay-stop, read by every other command.
 */
import type { CableSpec } from '../net/cable.js';

/** `stopped` has no record: it is listed in subhosts.conf and does not run. */
export type Phase = 'starting' | 'running' | 'degraded' | 'stopping';

/** A process that cannot be mistaken for a later one with its pid. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot, proc(5). */
  readonly startTimeTicks: number;
}

/** A bind mount that is there, from SHARE or overlay-share. */
export interface MountedShare {
  readonly host: string;
  readonly inside: string;
  readonly readOnly: boolean;
  /** Id of the mount, statx(2): the unique one where the kernel has it (6.8); undefined for a SHARE of the conf. */
  readonly mountId?: string;
}

/** What ifup(8) brought up, and the program that takes it down. */
export interface IfupInterface {
  readonly interface: string;
  readonly ifdown: string;
}

export interface SubhostState {
  readonly version: 1;
  readonly name: string;
  /** Absolute path of the conf it was booted from. */
  readonly conf: string;
  readonly phase: Phase;
  /** What a boot or stop was doing when the record was written. */
  readonly step: string;
  /** /proc/sys/kernel/random/boot_id: a record of another boot of the host is a dead one. */
  readonly bootId: string;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  /** The process that holds the lock and clears the host side. */
  readonly keeper?: ProcessId;
  /** pid 1 of the subhost, as the host numbers it. */
  readonly init?: ProcessId;
  /** The overlay-stop that is at it, while `stopping`: when it was killed, the next boot or stop goes on. */
  readonly stopper?: ProcessId;
  readonly base: string;
  readonly live: string;
  readonly upper: string;
  readonly lower: readonly string[];
  /** STACK, in place of UPPER and LOWER: a path or a name. */
  readonly stack?: string;
  readonly log: string;
  /** /run/netns/NAME */
  readonly netns: string;
  /** Inode of the network namespace: the one that is ours. */
  readonly netnsInode?: number;
  /** Absolute path of the control group; undefined where no cgroup v2 is mounted. */
  readonly cgroup?: string;
  readonly cables: readonly CableSpec[];
  /** Host interfaces that ifup(8) brought up, in that order. */
  readonly ifup: readonly IfupInterface[];
  readonly shares: readonly MountedShare[];
  /** START's services in the order they were started. */
  readonly start: readonly string[];
  /** START was not given: those that the root does not have were passed over. */
  readonly startIsDefault?: boolean;
  /** The ones of them that failed. */
  readonly degraded: readonly string[];
  /** Capabilities kept, by name without `CAP_`; undefined: all of them. */
  readonly caps?: readonly string[];
}
