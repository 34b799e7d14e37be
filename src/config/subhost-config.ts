/**
 * What a conf file says, resolved: plain, readonly JSON values, every path absolute.
 * Made by resolve.ts; the only thing the plan knows of a conf.
 */
import type { CableSpec } from '../net/cable.js';

/** A bind mount into the subhost. */
export interface ShareSpec {
  /** Absolute path on the host; a directory or a file. */
  readonly host: string;
  /** Absolute path inside; resolved inside the subhost's root only. */
  readonly inside: string;
}

/**
 * PREMOUNT, POSTMOUNT or INIT. `argv` is the command split at blanks, its first word an absolute
 * path; `after` means that it runs after the built-in action (`+`) and not in its place.
 */
export interface HookSpec {
  readonly argv: readonly string[];
  readonly after: boolean;
}

/** What of a conf has to be known before its lock can be taken. */
export interface Identity {
  /** Absolute path of the conf file. */
  readonly conf: string;
  /** NAME: 1 to 12 characters, valid as interface name prefix and path component. */
  readonly name: string;
  /** BASE, absolute. */
  readonly base: string;
}

/**
 * STACK: what the whole root is. A path of a `.mstack` directory, or the name of a point or wafer, which is
 * looked for when the root is read.
 */
export type StackSpec =
  | { readonly kind: 'mstack'; readonly path: string }
  | { readonly kind: 'named'; readonly name: string };

/** What runs a box: a subhost, or a container of systemd-nspawn. */
export type Engine = 'subhost' | 'nspawn';

/** Limits of section 5; undefined is no limit. */
export interface Limits {
  readonly memoryMaxBytes?: number;
  /** Per cent of one CPU. */
  readonly cpuMaxPercent?: number;
  readonly pidsMax?: number;
}

export interface SubhostConfig extends Identity {
  readonly live: string;
  readonly upper: string;
  readonly work: string;
  /** Lower layers, the top first: directories, disk images; or one `.mstack` directory. */
  readonly lower: readonly string[];
  /** Takes the place of LOWER, UPPER and WORK. */
  readonly stack?: StackSpec;
  readonly cables: readonly CableSpec[];
  /** START's services in order. */
  readonly start: readonly string[];
  /** START was not given: services the root does not have are passed over. */
  readonly startIsDefault: boolean;
  readonly init?: HookSpec;
  readonly premount?: HookSpec;
  readonly postmount?: HookSpec;
  /** Size of the tmpfs on /run in bytes; undefined for RAM_SIZE=none. */
  readonly ramSizeBytes?: number;
  readonly log: string;
  readonly shares: readonly ShareSpec[];
  /** Capabilities kept, by name without `CAP_`; undefined for CAPS=all. */
  readonly caps?: readonly string[];
  readonly limits: Limits;
  readonly engine: Engine;
}
