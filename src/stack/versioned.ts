/** `.v` directories: systemd.v(7) picks the newest version for an architecture from the names in them. Pure. */
import { isArchitecture } from './architecture.js';
import { compareTexts, compareVersions } from './version-order.js';

interface Candidate {
  readonly name: string;
  readonly version: string;
  /** Undefined where there are no boot counters: it is known to work. */
  readonly triesLeft: number | undefined;
  readonly triesDone: number;
}

export interface Pattern {
  /** What stands before the first `_`. */
  readonly base: string;
  /** `.raw`, or nothing for directories. */
  readonly suffix: string;
  /** systemd's name of the architecture it has to be for, unless it is for any. */
  readonly architecture: string;
}

/** The characters of a version, UAPI.10; `,` is systemd's. */
const VERSION = /^[A-Za-z0-9.,_^~+-]+$/;

/**
 * The name to take: `BASE_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX`. One with no tries left comes after all others;
 * of one version the one with more tries left, then with fewer done.
 * @returns undefined where no name fits
 */
export function pickVersion(names: readonly string[], pattern: Pattern): string | undefined {
  const candidates = names.flatMap((name) => parseName(name, pattern) ?? []);
  return candidates.sort(compareCandidates).at(-1)?.name;
}

function parseName(name: string, { base, suffix, architecture }: Pattern): Candidate | undefined {
  if (!name.startsWith(`${base}_`) || !name.endsWith(suffix)) return undefined;
  const variable = name.slice(base.length + 1, name.length - suffix.length);
  const counters = /\+([0-9]+)(?:-([0-9]+))?$/.exec(variable);
  const counted = counters ? variable.slice(0, counters.index) : variable;
  const underscore = counted.lastIndexOf('_');
  const tail = counted.slice(underscore + 1);
  const isFor = underscore > 0 && isArchitecture(tail) ? tail : undefined;
  const version = isFor === undefined ? counted : counted.slice(0, underscore);
  if (!VERSION.test(version) || (isFor ?? architecture) !== architecture) return undefined;
  return {
    name,
    version,
    triesLeft: counters ? Number(counters[1]) : undefined,
    triesDone: Number(counters?.[2] ?? 0),
  };
}

function compareCandidates(a: Candidate, b: Candidate): number {
  return (
    Number(a.triesLeft !== 0) - Number(b.triesLeft !== 0) ||
    compareVersions(a.version, b.version) ||
    compareTries(a.triesLeft ?? Number.MAX_VALUE, b.triesLeft ?? Number.MAX_VALUE) ||
    compareTries(b.triesDone, a.triesDone) ||
    compareTexts(a.name, b.name)
  );
}

const compareTries = (a: number, b: number): number => Math.sign(a - b);
