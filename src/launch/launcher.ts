/** The init program's launcher as seen from Node: one process per call, a session per subhost. */
import { Socket } from 'node:net';
import { Failure } from '../errors.js';
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

export class Launcher {
  readonly #socket: Socket;
  readonly #sessions: KeeperSession[] = [];
  readonly #reader = new FrameReader();
  #gone: Error | undefined;

  /**
   * @param meantFor  OVERLAY_BOOT_LAUNCHER: the pid of the process that the launcher was started for
   * @throws Failure where this process was not started by the init program
   */
  constructor(meantFor: string | undefined) {
    if (meantFor !== String(process.pid))
      throw new Failure({ what: 'the init program is not beside it', todo: 'start it as bin/overlay-boot' });
    this.#socket = new Socket({ fd: LAUNCHER_SOCKET, readable: true, writable: true });
    this.#socket.on('data', (bytes: Buffer) => this.#dispatch(bytes));
    this.#socket.on('error', () => this.#lost());
    this.#socket.on('close', () => this.#lost());
  }

  /** A session with a new keeper; its first request takes the lock of `stateDir`. */
  open(stateDir: string, name: string, cgroupMount: string): KeeperSession {
    const index = this.#sessions.length;
    const session = new KeeperSession((type, strings) => this.#send(encodeFrame({ index, type, strings })));
    this.#sessions.push(session);
    if (this.#gone) session.lose(this.#gone);
    else session.request('OPEN', stateDir, name, cgroupMount);
    return session;
  }

  /** Closes the socket: keepers that were not acknowledged end their subhosts. */
  close(): void {
    this.#socket.uncork(); // an acknowledgement may wait there
    this.#socket.destroy();
  }

  /** What is asked for in one go is one system call. */
  #send(frame: Buffer): void {
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      process.nextTick(() => this.#socket.uncork());
    }
    this.#socket.write(frame);
  }

  #dispatch(bytes: Buffer): void {
    for (const frame of this.#reader.read(bytes)) this.#sessions[frame.index]?.receive(frame);
  }

  #lost(why: Error = new KeeperLost({ what: 'the init program was ended from outside' })): void {
    this.#gone ??= why;
    for (const session of this.#sessions) session.lose(why);
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
function stepFailure([what = '', path = '', , strerror = '', why = '']: readonly string[]): Failure {
  const place = path ? `cannot ${what} ${path}` : `cannot ${what}`;
  return new Failure({ what: [place, strerror, why].filter(Boolean).join(': ') });
}

function endedFailure({ kind, status }: Ended): Failure {
  const how = kind === 'exit' ? `exited with status ${status}` : `was ended by signal ${status}`;
  return new Failure({ what: `pid 1 ${how} before it was ready` });
}
