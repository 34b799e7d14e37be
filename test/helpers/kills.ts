/**
 * Killing at every moment: a subhost of its own, a program that sends SIGKILL at the N-th system call, and a look
 * at everything that a boot or a stop could leave, without a program started for it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Completed, eventually, type Running, type Sandbox, useSandbox } from './namespaces.js';
import { makeBusyboxRoot } from './subhosts.js';
import { bootWrapped, toolFor } from './tools.js';

const NAME = 'victim';
const BASE = `/opt/subhost/${NAME}`;
const CONF = `${BASE}/${NAME}.conf`;
const LOWER = '/srv/t/lower';

/** Whose system calls are counted, and who is killed: see kill-at.c. */
export interface Victim {
  /** 0: the program itself, 1: its first child, 2: the first child of that. */
  readonly generation: 0 | 1 | 2;
  readonly kill: 'self' | 'child' | number;
  /** The command itself, or the launcher beside it. */
  readonly of: 'command' | 'init launch';
}

/** What of a subhost the host can see; equal before and after. */
type Traces = Readonly<
  Record<'mounts' | 'links' | 'files' | 'processes' | 'cgroups' | 'locks', readonly string[]>
>;

const NO_CHANGES: Traces = { mounts: [], links: [], files: [], processes: [], cgroups: [], locks: [] };

/** `+ LINE` for what is there now and was not before, `- LINE` the other way round. */
function changes(before: Traces, now: Traces): Traces {
  const changesOf = (kind: keyof Traces): string[] => [
    ...now[kind].filter((line) => !before[kind].includes(line)).map((line) => `+ ${line}`),
    ...before[kind].filter((line) => !now[kind].includes(line)).map((line) => `- ${line}`),
  ];
  const [mounts, links, files] = [changesOf('mounts'), changesOf('links'), changesOf('files')];
  return {
    mounts,
    links,
    files,
    processes: changesOf('processes'),
    cgroups: changesOf('cgroups'),
    locks: changesOf('locks'),
  };
}

export class KilledSubhost {
  readonly name = NAME;
  readonly #sandbox: () => Sandbox;
  #untouched: Traces | undefined;
  #files: Readonly<Record<string, string>> = {};

  constructor(sandbox: () => Sandbox) {
    this.#sandbox = sandbox;
  }

  get sandbox(): Sandbox {
    return this.#sandbox();
  }

  /** Makes the subhost, has it write a file from inside, and remembers what the host looks like without it. */
  async prepare(): Promise<void> {
    const { sandbox } = this;
    await makeBusyboxRoot(sandbox, LOWER);
    // Whoever is killed before the subhost's processes are asked to end costs a whole grace period.
    await sandbox.writeFile('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.3\n');
    await sandbox.sh(`mkdir -p ${BASE}/root/data ${BASE}/work ${BASE}/live`);
    await sandbox.writeFile(CONF, `BASE=.\nLOWER=${LOWER}\nCABLES= = =02:00:00:00:00:07\nSTART=/startup\n`);
    await sandbox.writeFile(`${BASE}/root/startup`, '#!/bin/sh\nexit 0\n', 0o755);
    for (const size of [1, 4096, 100_000])
      await sandbox.writeFile(`${BASE}/root/data/${size}`, randomBytes(size));
    await this.bootAgain();
    const enter = ['nsenter', `--target=${this.pid1()}`, '--all', '--root', '--wd=/'];
    await sandbox.run([...enter, 'sh', '-c', 'head -c 70000 /dev/urandom >/data/inside; sync']);
    await this.stopAgain();
    this.#files = this.#checksums();
    expect(Object.keys(this.#files)).to.include('data/inside');
    this.#untouched = this.#traces();
  }

  get #killAt(): string {
    return toolFor(this.sandbox, 'kill-at');
  }

  get #countFile(): string {
    return join(this.sandbox.diskdir, 'calls');
  }

  /** System calls that the last one who was counted has entered. */
  calls(): number {
    return Number(readFileSync(this.#countFile, 'utf8'));
  }

  /** Runs a command with its victim killed at the N-th call; 0 only counts. */
  start(command: readonly string[], { generation, kill, of }: Victim, call: number): Running {
    const wrapper = [this.#killAt, String(generation), String(call), this.#countFile, String(kill)];
    if (of === 'command') return this.sandbox.spawn([...wrapper, ...command]);
    const [name, ...args] = command;
    return this.sandbox.spawn(bootWrapped(this.sandbox, wrapper, args, name));
  }

  async boot(victim: Victim, call: number): Promise<Completed> {
    const completed = await this.start(['overlay-boot', CONF], victim, call).completed();
    this.#expectLinksOnRecord();
    return completed;
  }

  async stop(victim: Victim, call: number): Promise<Completed> {
    const completed = await this.start(['overlay-stop', NAME], victim, call).completed();
    this.#expectLinksOnRecord();
    return completed;
  }

  /** Whoever was killed, and when: no link is there that no record lists. */
  #expectLinksOnRecord(): void {
    // The record is looked at first: it is made before the links, and goes after them.
    const listed = recorded(this.#seen(`/run/overlay-boot/${NAME}/state.json`));
    const there = this.#links().filter((link) => link.startsWith(NAME));
    expect(listed, 'links on record').to.include.members(there);
  }

  /** A plain stop, whatever comes of it. */
  async stopPlainly(): Promise<void> {
    await this.sandbox.run(['overlay-stop', NAME]);
  }

  /** A plain boot, which has to succeed. */
  async bootAgain(): Promise<void> {
    const { code, stdout, stderr } = await this.sandbox.run(['overlay-boot', CONF]);
    expect({ code, stderr }, 'the next boot').to.deep.equal({ code: 0, stderr: '' });
    expect(stdout, 'the next boot').to.match(/^victim: (already )?running\n$/);
    expect(existsSync(this.#seen(`/proc/${this.pid1()}/ns`)), 'pid 1 is there').to.equal(true);
  }

  /** A plain stop, which has to succeed. */
  async stopAgain(): Promise<void> {
    const { code, stderr } = await this.sandbox.run(['overlay-stop', NAME]);
    expect({ code, stderr }, 'the next stop').to.deep.equal({ code: 0, stderr: '' });
  }

  /** Nothing of it is on the host, and the files of UPPER are what they were. */
  async expectNothingLeft(): Promise<void> {
    const untouched = this.#untouched ?? this.#traces();
    expect({ ...changes(untouched, this.#traces()), processes: [] }, 'what is left').to.deep.equal(
      NO_CHANGES,
    );
    // The lock is let go of by a process that ends; a moment later it has ended.
    const gone = (): boolean => changes(untouched, this.#traces()).processes.length === 0;
    await eventually('the processes are gone', gone, 2_000).catch(() =>
      expect(changes(untouched, this.#traces()), 'what is left').to.deep.equal(NO_CHANGES),
    );
    expect(this.#checksums(), 'the files of UPPER').to.deep.equal(this.#files);
  }

  /** Whatever state it is in: ends it, for the next try. */
  async reset(): Promise<void> {
    await this.sandbox.run(['overlay-stop', '--kill', NAME]);
  }

  /** pid 1 by the record, as the sandbox numbers it. */
  pid1(): number {
    const record = JSON.parse(readFileSync(this.#seen(`/run/overlay-boot/${NAME}/state.json`), 'utf8')) as {
      init: { pid: number };
    };
    return record.init.pid;
  }

  /** A path of the sandbox as it is seen from here. */
  #seen(path: string): string {
    return `/proc/${this.sandbox.pid}/root${path}`;
  }

  #traces(): Traces {
    const { pid, cgroup } = this.sandbox;
    return {
      mounts: lines(`/proc/${pid}/mountinfo`),
      links: this.#links(),
      files: ['/run/overlay-boot', '/run/netns'].flatMap((path) => below(this.#seen(path))),
      processes: this.#processes(),
      cgroups: cgroup === undefined ? [] : directoriesBelow(cgroup),
      locks: lines(this.#seen('/proc/locks')).flatMap((line) => /FLOCK .*/.exec(line) ?? []),
    };
  }

  #links(): string[] {
    return lines(`/proc/${this.sandbox.pid}/net/dev`).map((line) => line.split(':')[0]?.trim() ?? '');
  }

  #processes(): string[] {
    return readdirSync(this.#seen('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => commandLine(this.#seen(`/proc/${pid}`)))
      .filter((command) => !command.startsWith(this.#killAt))
      .sort();
  }

  #checksums(): Record<string, string> {
    const root = this.#seen(`${BASE}/root`);
    const files = below(root).filter((path) => path.startsWith('data/') || path === 'startup');
    const sum = (path: string): string =>
      createHash('sha256')
        .update(readFileSync(join(root, path)))
        .digest('hex');
    return Object.fromEntries(files.map((path) => [path, sum(path)]));
  }
}

const lines = (path: string): string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean);

/** Host ends that a record lists; none where there is no record, or none any more. */
function recorded(path: string): string[] {
  try {
    const { cables } = JSON.parse(readFileSync(path, 'utf8')) as { cables: { host: string }[] };
    return cables.map(({ host }) => host);
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    return [];
  }
}

const below = (path: string): string[] =>
  existsSync(path) ? readdirSync(path, { recursive: true }).map(String).sort() : [];

const directoriesBelow = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? entry.name : [],
  );

function commandLine(directory: string): string[] {
  try {
    const [state] = readFileSync(join(directory, 'stat'), 'utf8').split(') ').at(-1) ?? '';
    return state === 'Z'
      ? []
      : [readFileSync(join(directory, 'cmdline'), 'utf8').split('\0').join(' ').trim()];
  } catch {
    return []; // it ended while it was read
  }
}

/** Subhosts in sandboxes of their own, which are killed side by side. */
export function useKilledSubhosts(count: number): KilledSubhost[] {
  const subhosts = Array.from({ length: count }, () => new KilledSubhost(useSandbox()));
  before(async function () {
    this.timeout(60_000);
    await Promise.all(subhosts.map((subhost) => subhost.prepare()));
  });
  return subhosts;
}

/** So many numbers from `from` to `to`, evenly spread, both ends among them; all of them where there are fewer. */
export function spread(from: number, to: number, count: number): number[] {
  if (to - from < count) return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return Array.from({ length: count }, (_, i) => Math.round(from + (i * (to - from)) / (count - 1)));
}

/**
 * Tries every moment, shared out over the subhosts; goes on after a failure.
 * @param attempt  resolves to whether somebody was killed at that moment
 * @returns how many were killed
 * @throws Error that lists the moments at which something went wrong
 */
export async function killAtEach(
  subhosts: readonly KilledSubhost[],
  moments: readonly number[],
  attempt: (subhost: KilledSubhost, moment: number) => Promise<boolean>,
): Promise<number> {
  const waiting = [...moments];
  const failures: string[] = [];
  let killed = 0;
  const work = async (subhost: KilledSubhost): Promise<void> => {
    for (let moment = waiting.shift(); moment !== undefined; moment = waiting.shift()) {
      try {
        if (await attempt(subhost, moment)) killed++;
        await subhost.expectNothingLeft();
      } catch (error) {
        failures.push(`at call ${moment}: ${describeFailure(error)}`);
        await subhost.reset();
      }
    }
  };
  await Promise.all(subhosts.map(work));
  if (failures.length > 0)
    throw new Error(`${failures.length} of ${moments.length} moments:\n${failures.join('\n')}`);
  return killed;
}

function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { actual, expected } = error as { actual?: unknown; expected?: unknown };
  return `${error.message}${actual === undefined ? '' : `\n  ${JSON.stringify(actual)}, wanted ${JSON.stringify(expected)}`}`;
}
