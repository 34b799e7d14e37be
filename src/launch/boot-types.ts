/** What a boot is asked for, what it may use, and what comes of it. */
import type { Settings } from '../config/settings.js';
import type { RouteSocket } from '../net/rtnetlink.js';
import type { Mount } from '../sys/mountinfo.js';
import type { Ended, Launcher } from './launcher.js';

/** What all boots of one call share. */
export interface BootHost {
  readonly settings: Settings;
  readonly launcher: Launcher;
  readonly initProgram: string;
  readonly binDir: string;
  readonly bootId: string;
  readonly cgroupMount: string;
  readonly netnsDir: string;
  /** PATH, where ifup is looked for. */
  readonly path: string;
  /** Directory of the wafers, for STACK. */
  readonly wafers: string;
  /** What is mounted on the host, read once for all confs that run no command. */
  mounts(): readonly Mount[];
  /** What other subhosts can change, as CheckOptions has it, read once too. */
  guarded(): ReadonlyMap<string, string>;
  /** The call's one rtnetlink socket, opened when first asked for. */
  route(): Promise<RouteSocket>;
}

export interface BootRequest {
  /** As given on the command line. */
  readonly conf: string;
  /** Make LIVE, UPPER, WORK and the log's directory where missing. */
  readonly mkdir: boolean;
  /** Milliseconds for all of it; 0 is no limit. */
  readonly timeoutMs: number;
  /** Ends the boot; its reason is the error. */
  readonly signal: AbortSignal;
  /** Keep the session after ready, to learn of the end. */
  readonly stay: boolean;
  readonly warn: (line: string) => void;
}

export interface Booted {
  readonly name: string;
  /** `running`: it ran already. */
  readonly outcome: 'booted' | 'running';
  /** Services that failed to start. */
  readonly degraded: readonly string[];
  /** With `stay`: resolves when the subhost has ended. */
  readonly ended?: Promise<Ended>;
}
