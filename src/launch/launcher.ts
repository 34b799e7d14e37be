/** The init program's launcher as seen from Node: one process per call, a session per subhost. */
import { closeSync, readSync, writeSync } from 'node:fs';
import { errnoOf, Failure } from '../errors.js';
import { sleep } from './sleep.js';
import { EVENT, type EventType, encodeFrame, type Frame, FrameReader, REQUEST } from './wire.js';

/** How a subhost ended, told by its keeper once everything is taken back. */
export interface Ended {
  /** `none`: there was no pid 1 yet. */
  readonly kind: 'exit' | 'signal' | 'none';
  readonly status: number;
  /** What could not be taken back; empty: nothing. */
  readonly left: string;
}

/** The keeper's process was ended from outside, so nothing was taken back by it. */
export class KeeperLost extends Failure {
  override readonly name = 'KeeperLost';
}

/** The launcher's socket: the init program has made it before it became this Node (src/init/start.c). */
const LAUNCHER_SOCKET = 3;
/** `errno` of a program that the kernel cannot run, as the init program tells it. */
const ENOEXEC = '8';
/** It does not block, and sends this when there is something to be read, or room again. */
const SOCKET_SIGNAL = 'SIGURG';
/** A signal does not keep Node's event loop alive; a timer does, and looks itself at times. */
const LOOK_MS = 5_000;

/**
 * Read and written by plain system calls: to load Node's `net`, and the streams under it, takes longer than all of
 * the rest that a boot loads.
 */
export class Launcher {
  readonly #sessions: KeeperSession[] = [];
  readonly #reader = new FrameReader();
  readonly #buffer = Buffer.allocUnsafe(1 << 16);
  readonly #onSignal = (): void => this.#look();
  readonly #timer: NodeJS.Timeout;
  #unsent: Buffer[] = [];
  #gone: Error | undefined;

  /**
   * @param meantFor  OVERLAY_BOOT_LAUNCHER: the pid of the process that the launcher was started for
   * @throws Failure where this process was not started by the init program
   */
  constructor(meantFor: string | undefined) {
    if (meantFor !== String(process.pid))
      throw new Failure({ what: 'the init program is not beside it', todo: 'start it by its file in bin/' });
    process.on(SOCKET_SIGNAL, this.#onSignal);
    this.#timer = setInterval(this.#onSignal, LOOK_MS);
  }

  /** A session with a new keeper; its first request takes the lock of `stateDir`. */
  open(stateDir: string, name: string, cgroupMount: string): KeeperSession {
    return this.#begin('OPEN', [stateDir, name, cgroupMount]);
  }

  /**
   * Has a process of its own do what `init stop` does, see src/init/stop.c.
   * @throws Failure with what that complains of, or when it was ended from outside
   */
  async stop(request: readonly string[]): Promise<string> {
    const session = this.#begin('STOP', request);
    const { strings } = await session.expect('STOPPED').catch((cause: unknown) => {
      if (!(cause instanceof KeeperLost)) throw cause;
      throw new Failure({ what: 'what ends it was ended from outside', todo: 'stop it again', cause });
    });
    const [status, said = ''] = strings;
    if (status === '0') return said;
    throw new Failure({ what: said.trim() || 'the init program ended' });
  }

  #begin(type: 'OPEN' | 'STOP', strings: readonly string[]): KeeperSession {
    const index = this.#sessions.length;
    const session = new KeeperSession((type, strings) => this.#send(encodeFrame({ index, type, strings })));
    this.#sessions.push(session);
    if (this.#gone) session.lose(this.#gone);
    else session.request(type, ...strings);
    return session;
  }

  /** Closes the socket: keepers that were not acknowledged end their subhosts. */
  close(): void {
    this.#write(); // an acknowledgement may wait there
    this.#lost();
    closeSync(LAUNCHER_SOCKET);
  }

  /** What is asked for in one go is one system call. */
  #send(frame: Buffer): void {
    if (this.#unsent.length === 0) process.nextTick(() => this.#write());
    this.#unsent.push(frame);
  }

  #look(): void {
    this.#read();
    this.#write();
  }

  #write(): void {
    if (this.#gone || this.#unsent.length === 0) return;
    const bytes = Buffer.concat(this.#unsent);
    this.#unsent = [];
    const sent = this.#transfer(() => writeSync(LAUNCHER_SOCKET, bytes)) ?? 0;
    if (sent < bytes.length) this.#unsent.unshift(bytes.subarray(sent)); // the rest when there is room
  }

  #read(): void {
    const buffer = this.#buffer;
    for (let length: number | undefined = buffer.length; length === buffer.length && !this.#gone; ) {
      length = this.#transfer(() => readSync(LAUNCHER_SOCKET, buffer));
      if (length === 0) this.#lost();
      else if (length) this.#dispatch(Buffer.from(buffer.subarray(0, length)));
    }
  }

  /** The bytes that went over; undefined where it would have had to wait, or failed: the launcher is gone then. */
  #transfer(call: () => number): number | undefined {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') this.#lost();
      return undefined;
    }
  }

  #dispatch(bytes: Buffer): void {
    for (const frame of this.#reader.read(bytes)) this.#sessions[frame.index]?.receive(frame);
  }

  #lost(): void {
    if (this.#gone) return;
    this.#gone = new KeeperLost({ what: 'the init program was ended from outside' });
    clearInterval(this.#timer);
    process.off(SOCKET_SIGNAL, this.#onSignal);
    for (const session of this.#sessions) session.lose(this.#gone);
  }
}

/** Conversation with one keeper: requests go out, events come in the order of the requests. */
export class KeeperSession {
  /** Called with the name of each service that failed to start. */
  onReport: (service: string) => void = () => {};
  /** The keeper's pid, known from the first event on. */
  keeperPid = 0;
  /** The control group that the subhost will have, known once locked; '' for none. */
  cgroup = '';
  readonly #send: (type: number, strings: readonly string[]) => void;
  readonly #events: Frame[] = [];
  #waiter: { resolve: (frame: Frame) => void; reject: (error: Error) => void } | undefined;
  #lost: Error | undefined;
  #interrupted: Error | undefined;
  #ended: Ended | undefined;

  constructor(send: (type: number, strings: readonly string[]) => void) {
    this.#send = send;
  }

  request(type: keyof typeof REQUEST, ...strings: readonly string[]): void {
    this.#send(REQUEST[type], strings);
  }

  /**
   * The next event, which has to be one of `wanted`.
   * @throws Failure for the step that failed, KeeperLost when the keeper is gone
   */
  async expect<T extends keyof typeof EVENT>(
    ...wanted: readonly T[]
  ): Promise<{ type: T; strings: readonly string[] }> {
    if (this.#interrupted) throw this.#interrupted;
    const frame = await this.#next();
    const type = wanted.find((name) => EVENT[name] === frame.type);
    if (type) return { type, strings: frame.strings };
    if (frame.type === EVENT.FAILED) throw stepFailure(frame.strings);
    if (frame.type === EVENT.ENDED) throw endedFailure(endOf(frame.strings));
    throw new Failure({
      what: `the keeper answered out of turn: event ${frame.type}, wanted ${wanted.join(' or ')}`,
    });
  }

  /**
   * Ends the subhost, and with its pid namespace the hooks and `!commands` in it. Whoever waits for an event
   * of the boot gets this error instead, now or at the next wait.
   */
  interrupt(why: Error): void {
    if (this.#interrupted) return;
    this.#interrupted = why;
    this.request('ABORT');
    this.#waiter?.reject(why);
    this.#waiter = undefined;
  }

  /** What the boot was interrupted by, if it was. */
  get interrupted(): Error | undefined {
    return this.#interrupted;
  }

  /**
   * Asks for the end of the subhost and waits until everything is taken back.
   * @param why  for the log's last line
   */
  async abort(why = ''): Promise<Ended> {
    if (!this.#interrupted && !this.#ended && !this.#lost) this.request('ABORT', why);
    return this.ended();
  }

  /** Waits for the end of the subhost. @throws KeeperLost */
  async ended(): Promise<Ended> {
    while (!this.#ended) await this.#next();
    return this.#ended;
  }

  /** The failure that the end of pid 1 is, if it has ended or does so within `ms` milliseconds. */
  async endWithin(ms: number): Promise<Failure | undefined> {
    const ended = await Promise.race([this.ended().catch(() => undefined), sleep(ms)]);
    return ended ? endedFailure(ended) : undefined;
  }

  receive(frame: Frame): void {
    switch (frame.type as EventType) {
      case EVENT.OPENED:
        this.keeperPid = Number(frame.strings[0]);
        return;
      case EVENT.REPORT:
        this.onReport(frame.strings[0] ?? '');
        return;
      case EVENT.GONE:
        if (!this.#ended) this.lose(new KeeperLost({ what: 'its keeper was ended from outside' }));
        return;
      case EVENT.ENDED:
        this.#ended = endOf(frame.strings);
        break;
    }
    if (this.#waiter) {
      const { resolve } = this.#waiter;
      this.#waiter = undefined;
      resolve(frame);
    } else {
      this.#events.push(frame);
    }
  }

  lose(error: Error): void {
    this.#lost ??= error;
    this.#waiter?.reject(this.#lost);
    this.#waiter = undefined;
  }

  #next(): Promise<Frame> {
    const frame = this.#events.shift();
    if (frame) return Promise.resolve(frame);
    if (this.#lost) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }
}

const endOf = ([kind, status, left]: readonly string[]): Ended => ({
  kind: kind === 'exit' || kind === 'signal' ? kind : 'none',
  status: Number(status),
  left: left ?? '',
});

/** `mount the overlay on /srv/live: Invalid argument: the kernel's own words`. */
function stepFailure([
  what = '',
  path = '',
  errno = '',
  strerror = '',
  why = '',
]: readonly string[]): Failure {
  const place = path ? `cannot ${what} ${path}` : `cannot ${what}`;
  const words = [place, strerror, why].filter(Boolean).join(': ');
  if (errno !== ENOEXEC) return new Failure({ what: words });
  const todo = `is the root one of another architecture than this machine's (${process.arch})? With qemu-user-static on the host it runs`;
  return new Failure({ what: words, todo });
}

function endedFailure({ kind, status }: Ended): Failure {
  const how = kind === 'exit' ? `exited with status ${status}` : `was ended by signal ${status}`;
  return new Failure({ what: `pid 1 ${how} before it was ready` });
}
