/**
 * Finds the marks of the relay (src/init/enter.c) in the output of a terminal. A mark is a random text that
 * nobody inside knows; `MARK+` says that input may come, `MARK3` and a newline that the output is complete
 * and the exit status 3. Pure.
 */

export interface MarkEvents {
  /** Output of the process inside; never a part of a mark. */
  output(bytes: Buffer): void;
  /** The relay's terminal is raw: nothing is echoed on the way any more. */
  ready(): void;
  /** All output has come. */
  end(status: number): void;
}

/**
 * A new mark's text. It starts with two bytes that terminals do not show: output is held back while it could
 * be the beginning of a mark, and what somebody types must not be.
 * @param random  at least 16 bytes
 */
export const markText = (random: Buffer): string => `\x01\x02${random.toString('hex')}`;

export class MarkScanner {
  readonly #mark: Buffer;
  readonly #events: MarkEvents;
  #held = Buffer.alloc(0);
  #ended = false;

  constructor(mark: string, events: MarkEvents) {
    this.#mark = Buffer.from(mark, 'latin1');
    this.#events = events;
  }

  /** Takes the next piece of the stream, cut anywhere. */
  push(chunk: Buffer): void {
    let rest = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    while (!this.#ended) {
      const at = rest.indexOf(this.#mark);
      const clear = at < 0 ? rest.length - this.#beginningAtEnd(rest) : at;
      if (clear > 0) this.#events.output(rest.subarray(0, clear));
      rest = rest.subarray(clear);
      const length = at < 0 ? 0 : this.#take(rest.subarray(this.#mark.length));
      if (length === 0) break;
      rest = rest.subarray(this.#mark.length + length);
    }
    this.#held = Buffer.from(rest);
  }

  /** What follows a mark; the number of its bytes, or 0 when it is not complete yet. */
  #take(rest: Buffer): number {
    const [whole = '', status] = /^(?:\+|(\d{1,3})\r?\n)/.exec(rest.toString('latin1', 0, 8)) ?? [];
    if (status !== undefined) {
      this.#ended = true;
      this.#events.end(Number(status));
    } else if (whole !== '') this.#events.ready();
    return whole.length;
  }

  /** How many bytes at the end of a piece could be the beginning of a mark. */
  #beginningAtEnd(bytes: Buffer): number {
    const longest = Math.min(bytes.length, this.#mark.length - 1);
    for (let length = longest; length > 0; length--)
      if (bytes.subarray(-length).equals(this.#mark.subarray(0, length))) return length;
    return 0;
  }
}
