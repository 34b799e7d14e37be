/** Attaches host directories and files to a running subhost, and detaches them; what overlay-share does. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { linkOnTheWay } from '../config/guarded-path.js';
import { Failure } from '../errors.js';
import { isRunning } from '../state/liveness.js';
import { listStates, readState, stateDirectory, writeState } from '../state/state-file.js';
import type { MountedShare, ProcessId, SubhostState } from '../state/subhost-state.js';
import { initProgram } from '../sys/init-program.js';
import { changedBySubhosts } from './guarded.js';

/** What can be attached: the share that is to be there. */
export type WantedShare = Omit<MountedShare, 'mountId'>;

/**
 * Attaches a share to a running subhost and puts it on record.
 * @returns false when exactly this share is there already
 * @throws Failure where it does not run, another share is there, or the mount cannot be made
 */
export async function attachShare(runDir: string, name: string, wanted: WantedShare): Promise<boolean> {
  return withLockedRecord(runDir, name, async (session, state, init) => {
    assertNotPrepared(runDir, name, wanted.host);
    const recorded = state.shares.find(({ inside }) => inside === wanted.inside);
    if (recorded && (await session.isThere(init, recorded))) {
      if (recorded.host === wanted.host && recorded.readOnly === wanted.readOnly) return false;
      throw new Failure({
        what: `${name}: ${wanted.inside}: ${describeShare(recorded)} is shared there already`,
        todo: `overlay-share --remove ${recorded.host} ${name} ${recorded.inside} detaches it`,
      });
    }
    const mountId = await session.add(init, wanted);
    const others = state.shares.filter((share) => share !== recorded);
    writeState(runDir, { ...state, shares: [...others, { ...wanted, mountId }] });
    await session.keep();
    return true;
  });
}

/**
 * Detaches the share that was made at `inside`, and no other mount.
 * @param host  the host path it must be of
 * @throws Failure where the subhost does not run or nothing of the kind is shared there
 */
export async function detachShare(
  runDir: string,
  name: string,
  { host, inside }: Pick<MountedShare, 'host' | 'inside'>,
): Promise<void> {
  await withLockedRecord(runDir, name, async (session, state, init) => {
    const recorded = state.shares.find((share) => share.inside === inside);
    if (!recorded)
      throw new Failure({ what: `${name}: ${inside}: nothing is shared there`, todo: knownShares(state) });
    if (recorded.host !== host)
      throw new Failure({
        what: `${name}: ${inside}: ${describeShare(recorded)} is shared there, not ${host}`,
      });
    const forget = (): void =>
      writeState(runDir, { ...state, shares: state.shares.filter((share) => share !== recorded) });
    try {
      await session.remove(init, recorded);
    } catch (error) {
      // The subhost's own root can unmount it: then the record is what is wrong.
      if (!(await session.isThere(init, recorded))) forget();
      throw error;
    }
    forget();
  });
}

/** @throws Failure where this subhost, or another one, could have put a link in the way of the host path */
function assertNotPrepared(runDir: string, name: string, host: string): void {
  const guarded = changedBySubhosts(runDir);
  const directory = linkOnTheWay(host, new Set(guarded.keys()));
  if (directory === undefined) return;
  const whose = guarded.get(directory);
  throw new Failure({
    what: `${name}: ${host} leads over a symbolic link in ${directory}, which ${whose === name ? 'the subhost' : `subhost ${whose}`} can change`,
    todo: 'name what the link leads to',
  });
}

const describeShare = ({ host, readOnly }: MountedShare): string =>
  `${host}${readOnly ? ' (read-only)' : ''}`;

const knownShares = ({ shares }: SubhostState): string =>
  shares.length === 0
    ? 'it has no shares'
    : `its shares are ${shares.map(({ host, inside }) => (host === inside ? host : `${host} at ${inside}`)).join(', ')}`;

async function withLockedRecord<T>(
  runDir: string,
  name: string,
  job: (session: ShareSession, state: SubhostState, init: ProcessId) => Promise<T>,
): Promise<T> {
  runningState(runDir, name);
  const session = await ShareSession.open(name, join(stateDirectory(runDir, name), 'state.json'));
  try {
    // Read anew: it may have been replaced until the lock was ours.
    const { state, init } = runningState(runDir, name);
    return await job(session, state, init);
  } finally {
    await session.close();
  }
}

/** The record of a subhost that is up; anything else is a failure that says what it is instead. */
function runningState(runDir: string, name: string): { state: SubhostState; init: ProcessId } {
  // Looked for in the listing: a name with a slash in it never becomes a path.
  const state = listStates(runDir).includes(name) ? readState(runDir, name) : undefined;
  if (!state || !isRunning(runDir, state))
    throw new Failure({ what: `${name}: no such subhost is running`, todo: 'see overlay-status' });
  if (state.phase === 'starting' || state.phase === 'stopping' || !state.init)
    throw new Failure({ what: `${name}: is ${state.phase}`, todo: 'try again when it runs' });
  return { state, init: state.init };
}

/** The init program in its mode `share`: it holds the lock on the record until it is closed. See share.c. */
class ShareSession {
  readonly #name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #replies: AsyncIterator<string>;
  readonly #lines: Interface;
  readonly #ended: Promise<unknown>;
  #stderr = '';

  private constructor(name: string, record: string) {
    this.#name = name;
    // Detached: a ^C ends us, and the end of our pipe makes it take back what is not on record.
    this.#child = spawn(initProgram(), ['share', record], { env: {}, detached: true });
    this.#ended = new Promise((done) => this.#child.once('close', done).once('error', done));
    this.#child.stdin.on('error', () => {}); // it ended: the missing reply says so
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    this.#lines = createInterface(this.#child.stdout);
    this.#replies = this.#lines[Symbol.asyncIterator]();
  }

  static async open(name: string, record: string): Promise<ShareSession> {
    const session = new ShareSession(name, record);
    await session.#reply(`lock ${record}`);
    return session;
  }

  /** Mounts it, and gives the mount's id; undone by `close` unless `keep` comes before. */
  add(init: ProcessId, { host, inside, readOnly }: WantedShare): Promise<string> {
    return this.#request(`share ${host} at ${inside}`, [
      'add',
      ...pidWords(init),
      host,
      inside,
      readOnly ? 'ro' : 'rw',
    ]);
  }

  async keep(): Promise<void> {
    await this.#request('keep the share', ['keep']);
  }

  async isThere(init: ProcessId, share: MountedShare): Promise<boolean> {
    return (await this.#request(`look at ${share.inside}`, ['check', ...shareWords(init, share)])) === 'yes';
  }

  async remove(init: ProcessId, share: MountedShare): Promise<void> {
    await this.#request(`detach ${share.host} from ${share.inside}`, ['remove', ...shareWords(init, share)]);
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
    this.#lines.close();
  }

  #request(what: string, words: readonly string[]): Promise<string> {
    this.#child.stdin.write(words.map((word) => `${word}\0`).join(''));
    return this.#reply(what);
  }

  async #reply(what: string): Promise<string> {
    const { value, done } = await this.#replies.next();
    if (done) await this.#ended;
    const reply = done ? `no ${this.#stderr.trim() || 'the init program ended'}` : value;
    if (reply === 'ok' || reply.startsWith('ok ')) return reply.slice('ok '.length);
    throw new Failure({ what: `${this.#name}: ${what}`, todo: reply.replace(/^no /, '') });
  }
}

const pidWords = ({ pid, startTimeTicks }: ProcessId): string[] => [`${pid}`, `${startTimeTicks}`];

const shareWords = (init: ProcessId, { host, inside, mountId = '0' }: MountedShare): string[] => [
  ...pidWords(init),
  host,
  inside,
  mountId,
];
