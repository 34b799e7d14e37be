/** The door to pidusage: what processes take of cpu and memory. Loaded lazily, as every door. */
import pidusage from 'pidusage';
import { readIfExists } from './files.js';

export interface Usage {
  /** Per cent of one CPU. */
  readonly cpuPercent: number;
  /** Resident; pages that processes share are counted for each. */
  readonly memoryBytes: number;
}

/** Reads the figures of processes, again and again for a display that is refreshed. */
export class UsageMeter {
  #seen: ReadonlySet<number> = new Set();

  /**
   * The sum over the processes; one that has ended meanwhile counts nothing. The cpu figure of a process
   * is for the time since it was last read, the first time for its whole life, as ps(1) shows it.
   */
  async sum(pids: readonly number[]): Promise<Usage> {
    if (pids.length === 0) return { cpuPercent: 0, memoryBytes: 0 };
    // It fails when none of them is left, and gives null for each that is not.
    const found: Record<string, pidusage.Status | null> = await pidusage([...pids]).catch(() => ({}));
    const stats = Object.values(found).filter((stat) => stat !== null && stat !== undefined);
    const known = this.#seen;
    this.#seen = new Set([...known, ...pids]);
    const cpuOf = ({ pid, cpu, ctime, elapsed }: pidusage.Status): number =>
      known.has(pid) ? cpu : elapsed > 0 ? (100 * ctime) / elapsed : 0;
    return {
      cpuPercent: stats.reduce((total, stat) => total + cpuOf(stat), 0),
      memoryBytes: stats.reduce((total, stat) => total + (stat.memory || residentBytes(stat.pid)), 0),
    };
  }
}

/**
 * VmRSS of a process, for one so small that the figure in /proc/PID/stat is 0: the kernel keeps that one
 * per CPU and adds it up in batches (Linux 6.2; "inaccurate" in proc_pid_stat(5)).
 */
function residentBytes(pid: number): number {
  try {
    const kilobytes = /^VmRSS:\s*(\d+) kB$/m.exec(readIfExists(`/proc/${pid}/status`) ?? '');
    return Number(kilobytes?.[1] ?? 0) * 1024;
  } catch {
    return 0; // ESRCH: it ended while it was read
  }
}
