/**
 * What is said to the kernel about neighbours (who has an address on a link) and what it answers: rtnetlink(7),
 * linux/neighbour.h. Pure.
 */
import { readU16, readU32, u32 } from '../sys/byte-order.js';
import type { Message } from './link-messages.js';

/** linux/rtnetlink.h */
export const RTM_NEIGHBOUR = { DEL: 29, GET: 30 } as const;

/** linux/neighbour.h */
const NDA_DST = 1;
const NUD_INCOMPLETE = 0x01;
const NUD_FAILED = 0x20;

/** struct ndmsg: family, two of padding, index of the link, state, flags, type. */
const HEADER_LENGTH = 12;
const INDEX_OFFSET = 4;
const STATE_OFFSET = 8;

export interface Neighbour {
  /** AF_INET or AF_INET6 */
  readonly family: number;
  /** Index of the link it is on. */
  readonly link: number;
  /** Somebody asked for it, and nobody has answered. */
  readonly unanswered: boolean;
  readonly address: Buffer;
}

/** GETNEIGH of all of them. */
export const everyNeighbourMessage = (): Message => [Buffer.alloc(HEADER_LENGTH)];

/** DELNEIGH */
export function neighbourMessage({ family, link, address }: Neighbour): Message {
  const header = Buffer.alloc(HEADER_LENGTH);
  header[0] = family;
  u32(link).copy(header, INDEX_OFFSET);
  return [header, [NDA_DST, address]];
}

/** @param attributesOf  as in parseLink() */
export function parseNeighbour(
  data: Buffer,
  attributesOf: (bytes: Buffer) => ReadonlyMap<number, Buffer>,
): Neighbour {
  const state = readU16(data, STATE_OFFSET);
  return {
    family: data[0] ?? 0,
    link: readU32(data, INDEX_OFFSET),
    unanswered: (state & (NUD_INCOMPLETE | NUD_FAILED)) !== 0,
    address: attributesOf(data.subarray(HEADER_LENGTH)).get(NDA_DST) ?? Buffer.alloc(0),
  };
}
