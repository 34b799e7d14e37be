/** The frames between overlay-boot and the init program: src/init/wire.h has the same tables, and a test compares them. */
import { Failure } from '../errors.js';
import { readU16, readU32, u16, u32 } from '../sys/byte-order.js';

/** Requests to a keeper. */
export const REQUEST = {
  OPEN: 1,
  CLEAR: 2,
  CLONE: 3,
  UNDO: 4,
  LOG: 5,
  CHILD: 6,
  ACK: 7,
  ABORT: 8,
  STOP: 9,
} as const;

/** Events of a keeper; GONE comes from the launcher. */
export const EVENT = {
  LOCKED: 1,
  BUSY: 2,
  DONE: 3,
  CLONED: 4,
  REPORT: 5,
  READY: 6,
  FAILED: 7,
  ENDED: 8,
  GONE: 9,
  OPENED: 10,
  STOPPED: 11,
} as const;

export type EventType = (typeof EVENT)[keyof typeof EVENT];

export interface Frame {
  /** Which subhost of this call, counted from 0. */
  readonly index: number;
  readonly type: number;
  readonly strings: readonly string[];
}

const HEADER_BYTES = 8;
/** FRAME_BYTES_MAX of wire.h: what the init program takes. */
const PAYLOAD_BYTES_MAX = 1 << 20;

/**
 * A frame as it goes over the socket: length, index, type, strings that end with NUL.
 * @throws Failure where it is larger than the init program takes
 */
export function encodeFrame({ index, type, strings }: Frame): Buffer {
  const payload = Buffer.from(strings.map((text) => `${text}\0`).join(''), 'utf8');
  if (payload.length > PAYLOAD_BYTES_MAX)
    throw new Failure({
      what: `the plan is larger than ${PAYLOAD_BYTES_MAX} bytes`,
      todo: 'name fewer shares or layers, or shorter paths',
    });
  return Buffer.concat([u32(payload.length), u16(index), u16(type), payload]);
}

/** Cuts a stream of bytes into frames; what is not whole yet waits for the next bytes. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);

  /** The frames that are whole with these bytes. */
  read(bytes: Buffer): Frame[] {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const frames: Frame[] = [];
    while (this.#pending.length >= HEADER_BYTES) {
      const length = readU32(this.#pending);
      const end = HEADER_BYTES + length;
      if (this.#pending.length < end) break;
      frames.push({
        index: readU16(this.#pending, 4),
        type: readU16(this.#pending, 6),
        strings: this.#pending.toString('utf8', HEADER_BYTES, end).split('\0').slice(0, -1),
      });
      this.#pending = this.#pending.subarray(end);
    }
    return frames;
  }
}
