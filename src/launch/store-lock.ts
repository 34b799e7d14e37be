/**
 * The one lock of the store: whoever changes it holds it, and first clears what somebody who was killed has left.
 * It is the lock of the directory WAFERS itself, and of the open file: the kernel lets go of it when this process and
 * whatever it had mount for it have ended.
 */
import { closeSync, openSync, statfsSync } from 'node:fs';
import { errnoOf, Failure } from '../errors.js';
import { checkReadable } from '../stack/store.js';
import { makeDirectory } from '../sys/files.js';
import { holderOf } from './lock-holder.js';
import { clearDiscarded, clearUnfinished } from './make-wafer.js';
import { GIVEN_UP, runInit, runInitAtOnce } from './mount-stack.js';
import { finishChange } from './store-change.js';
import type { WaferPlaces } from './wafers.js';

/** The store as it is seen by a command: where it is, and whom to tell of a wait. */
export interface StorePlaces extends WaferPlaces {
  /** Called with who holds the lock, before it is waited for. */
  readonly onWait?: (holder: string) => void;
}

/** The store, locked. */
export interface Store extends WaferPlaces {
  /** The descriptor that has the lock, for programs that must not outlive it. */
  readonly hold: number;
}

/** What takes longer than a mount, reading an archive and removing files, is done without the lock. */
const WAIT_MS = 30_000;
/** Exit status of `init lock`: somebody else has it. */
const HELD = 3;

/**
 * Changes the store, alone.
 * @throws Failure naming the process that has had the lock all the time that was waited
 */
export async function withStore<T>(
  places: StorePlaces,
  change: (store: Store) => Promise<T> | T,
): Promise<T> {
  const { wafers } = places;
  try {
    checkReadable(wafers);
    makeDirectory(wafers, 0o700);
    return await locked(places, change);
  } catch (error) {
    throw inWords(wafers, error);
  } finally {
    clearDiscarded(wafers);
  }
}

async function locked<T>(
  { wafers, stacks, onWait }: StorePlaces,
  change: (store: Store) => Promise<T> | T,
): Promise<T> {
  const hold = openSync(wafers, 'r');
  try {
    await lockAlone(hold, {
      onWait,
      busy: (holder) =>
        new Failure({
          what: `the store ${wafers} is being changed by ${holder}`,
          todo: 'try again when that is done',
        }),
    });
    return await uninterrupted(() => {
      clearUnfinished(wafers);
      finishChange(wafers);
      return change({ wafers, stacks, hold });
    });
  } finally {
    closeSync(hold);
  }
}

/** What is begun is brought to its end: a point that is cut over would be left unmounted. */
async function uninterrupted<T>(act: () => Promise<T> | T): Promise<T> {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const goOn = (): void => {};
  for (const signal of signals) process.on(signal, goOn);
  try {
    return await act();
  } finally {
    for (const signal of signals) process.off(signal, goOn);
  }
}

/** What keeps a file system from being written to, by its name in errno(3). */
const OBSTACLES = {
  ENOSPC: { what: 'its file system is full', todo: 'make room there; delete-image needs none itself' },
  EDQUOT: { what: 'the quota of its file system is used up', todo: 'make room there' },
  EROFS: { what: 'its file system is read-only', todo: 'mount it for writing' },
} as const;

/** What was to be done and what to do, of an error by which Node only says which call failed; others as they are. */
export function inWords(wafers: string, error: unknown): unknown {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const { path = wafers, dest = path } = cause as NodeJS.ErrnoException & { readonly dest?: string };
  const errno = errnoOf(cause) ?? '';
  return isObstacle(errno) && dest.startsWith(wafers) ? cannotChange(wafers, errno, cause) : error;
}

const isObstacle = (errno: string): errno is keyof typeof OBSTACLES => Object.hasOwn(OBSTACLES, errno);

function cannotChange(wafers: string, errno: keyof typeof OBSTACLES, cause?: unknown): Failure {
  const { what, todo } = OBSTACLES[errno];
  return new Failure({ what: `the store ${wafers} cannot be changed: ${what}`, todo, cause });
}

/** Mounting an overlay makes a few files in its work directory, some of them only to see what the disk can do. */
const MOUNT_NEEDS = { files: 12, bytes: 128 << 10 } as const;

/**
 * Whoever unmounts something to mount it again makes sure that it can.
 * @throws Failure where the disk is too full
 */
export function checkRoomToMount(wafers: string): void {
  const { files, ffree, bfree, bsize } = statfsSync(wafers);
  // A file system that makes inodes when it needs them has none to speak of.
  const isFull = (files > 0 && ffree < MOUNT_NEEDS.files) || bfree * bsize < MOUNT_NEEDS.bytes;
  if (isFull) throw cannotChange(wafers, 'ENOSPC');
}

/** For a lock that somebody else has. */
interface Waiting {
  /** Called with who holds it, before it is waited for. */
  readonly onWait: StorePlaces['onWait'];
  /** The error where it is not let go of in time. */
  readonly busy: (holder: string) => Error;
}

/** So often it is tried again where nobody is found who has it: it was let go of between the two looks. */
const LOOKS = 10;
const UNSEEN = 'a process that cannot be seen from here';

/**
 * Takes the lock of a file or directory, for as long as its descriptor is open.
 * @throws what `busy` returns when it was waited for in vain
 */
export async function lockAlone(hold: number, { onWait, busy }: Waiting): Promise<void> {
  const options = { hold, okCodes: [0, HELD, GIVEN_UP] };
  for (let looks = 1; (await runInit(['lock', 'exclusive'], options)) === HELD; looks++) {
    const holder = holderOf(hold);
    if (holder === undefined && looks < LOOKS) continue;
    onWait?.(holder ?? UNSEEN);
    if ((await runInit(['lock', 'exclusive', 'wait'], { ...options, timeoutMs: WAIT_MS })) === 0) return;
    throw busy(holderOf(hold) ?? UNSEEN);
  }
}

/** Takes the lock of what is new: nobody else can have it. */
export const lockNew = (hold: number): void => runInitAtOnce(['lock', 'exclusive'], hold);
