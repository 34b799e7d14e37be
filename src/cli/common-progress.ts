/** How far something is that takes a while: a line in place on a terminal, now and then a line in a log. */
import type { Terminal } from './command.js';
import { sizeText } from './common-table.js';

/** How far it is; bytes. */
interface Progress {
  readonly done: number;
  /** Undefined where it is not known. */
  readonly total: number | undefined;
}

/** A log gets a line this often. */
const LOG_EVERY_MS = 10_000;

/** `1.2M of 3.4M, 35 %, 5.6M/s`. */
export function progressText({ done, total }: Progress, elapsedMs: number): string {
  const rate = `${sizeText(Math.round((done * 1000) / Math.max(1, elapsedMs)))}/s`;
  if (!total) return `${sizeText(done)}, ${rate}`;
  return `${sizeText(done)} of ${sizeText(total)}, ${Math.floor((100 * done) / total)} %, ${rate}`;
}

export class ProgressLine {
  readonly #terminal: Pick<Terminal, 'fancy' | 'print'>;
  readonly #now: () => number;
  readonly #start: number;
  #shownAt: number;
  #lines = 0;

  constructor(terminal: Pick<Terminal, 'fancy' | 'print'>, now: () => number = Date.now) {
    this.#terminal = terminal;
    this.#now = now;
    this.#start = now();
    this.#shownAt = this.#start;
  }

  show(progress: Progress): void {
    const { fancy, print } = this.#terminal;
    const now = this.#now();
    if (!fancy && now - this.#shownAt < LOG_EVERY_MS) return;
    this.#shownAt = now;
    const text = progressText(progress, now - this.#start);
    print(fancy ? `${this.#back()}${text}\u001b[K` : text);
    this.#lines = 1;
  }

  /** The line before, to be written over. */
  #back(): string {
    return this.#lines === 0 ? '' : '\u001b[A';
  }

  /** What is printed next takes its place. */
  clear(): void {
    if (this.#terminal.fancy && this.#lines > 0) this.#terminal.print('\u001b[A\u001b[K\u001b[A');
  }
}
