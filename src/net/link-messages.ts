/**
 * What is said to the kernel about a link and what it answers, as plain data: rtnetlink(7) and the
 * kernel's linux/rtnetlink.h, linux/if_link.h and linux/veth.h. Bytes and sockets are rtnetlink.ts's. Pure.
 */
import { readU32, u16, u32 } from '../sys/byte-order.js';

/** A netlink attribute; one with a list in it is nested. */
export type Attribute = readonly [type: number, payload: Uint8Array | Message];
/** Attributes in their order, after the struct they belong to. */
export type Message = readonly (Uint8Array | Attribute)[];

/** linux/rtnetlink.h */
export const RTM = { NEWLINK: 16, DELLINK: 17, GETLINK: 18, SETLINK: 19, GETNSID: 90 } as const;

/** linux/if_link.h */
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  LINK: 5,
  MASTER: 10,
  LINKINFO: 18,
  NET_NS_PID: 19,
  IFALIAS: 20,
  EXT_MASK: 29,
  LINK_NETNSID: 37,
} as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const IFLA_VLAN_ID = 1;
/** linux/net_namespace.h */
const NETNSA = { NSID: 1, PID: 2 } as const;
/** struct rtgenmsg: family, aligned. */
const NSID_HEADER_LENGTH = 4;
/** linux/veth.h */
const VETH_INFO_PEER = 1;
/** linux/rtnetlink.h: leave the counters, most of an answer's bytes, out. */
const RTEXT_FILTER_SKIP_STATS = 1 << 3;
const IFF_UP = 1;
/** struct ifinfomsg: family, type, index, flags, changed flags. */
const HEADER_LENGTH = 16;
const INDEX_OFFSET = 4;
const FLAGS_OFFSET = 8;

export interface VethRequest {
  /** Host end. */
  readonly host: string;
  /** The other end, in the other network namespace. */
  readonly inside: string;
  /** A process in that namespace. */
  readonly netnsPid: number;
  /** MAC address of the other end. */
  readonly mac?: string | undefined;
}

export interface VlanRequest {
  readonly name: string;
  /** Index of the link it lies on. */
  readonly parentIndex: number;
  /** 1 to 4094 */
  readonly vlanId: number;
}

export interface ChangeRequest {
  readonly alias?: string | undefined;
  /** Index of the bridge it becomes a port of. */
  readonly masterIndex?: number | undefined;
  readonly up?: boolean | undefined;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  /** `veth`, `bridge`, `vlan`, …; undefined for what no driver of that sort made. */
  readonly kind?: string;
  readonly alias?: string;
  /** Index of the bridge it is a port of. */
  readonly masterIndex?: number;
  /** Lower case, `aa:bb:cc:dd:ee:ff`. */
  readonly mac?: string;
  /** The network namespace that its other end is in, by our number of it; undefined for our own. */
  readonly otherNetns?: number;
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`);
const readText = (bytes: Buffer): string => bytes.toString('utf8').replace(/\0.*$/s, '');
const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
const readMac = (bytes: Buffer): string => bytes.toString('hex').replace(/..(?!$)/g, '$&:');

/** struct ifinfomsg; where `up` is given, IFF_UP is the one flag that changes. */
function header({ index = 0, up }: { index?: number; up?: boolean | undefined } = {}): Buffer {
  const change = up === undefined ? 0 : IFF_UP;
  return Buffer.concat([u32(0), u32(index), u32(up ? IFF_UP : 0), u32(change)]);
}

const linkInfo = (kind: string, ...attributes: readonly Attribute[]): Attribute => [
  IFLA.LINKINFO,
  [
    [IFLA_INFO.KIND, text(kind)],
    [IFLA_INFO.DATA, attributes],
  ],
];

/** NEWLINK: both ends and the MAC address in one request; the peer is a whole link message of its own. */
export function vethMessage({ host, inside, netnsPid, mac }: VethRequest): Message {
  const peer: Message = [
    header(),
    [IFLA.IFNAME, text(inside)],
    [IFLA.NET_NS_PID, u32(netnsPid)],
    ...(mac === undefined ? [] : [[IFLA.ADDRESS, macBytes(mac)] as const]),
  ];
  return [header(), [IFLA.IFNAME, text(host)], linkInfo('veth', [VETH_INFO_PEER, peer])];
}

/** NEWLINK */
export function vlanMessage({ name, parentIndex, vlanId }: VlanRequest): Message {
  return [
    header(),
    [IFLA.IFNAME, text(name)],
    [IFLA.LINK, u32(parentIndex)],
    linkInfo('vlan', [IFLA_VLAN_ID, u16(vlanId)]),
  ];
}

/** SETLINK: the link is found by its name. */
export function changeMessage(name: string, { alias, masterIndex, up }: ChangeRequest): Message {
  return [
    header({ up }),
    [IFLA.IFNAME, text(name)],
    ...(alias === undefined ? [] : [[IFLA.IFALIAS, Buffer.from(alias)] as const]),
    ...(masterIndex === undefined ? [] : [[IFLA.MASTER, u32(masterIndex)] as const]),
  ];
}

/** GETLINK or DELLINK of one link. */
export const namedMessage = (name: string): Message => [
  header(),
  [IFLA.IFNAME, text(name)],
  WITHOUT_COUNTERS,
];

/** GETLINK with DUMP: every link. */
export const everyLinkMessage = (): Message => [header(), WITHOUT_COUNTERS];

const WITHOUT_COUNTERS: Attribute = [IFLA.EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)];

/**
 * A link out of the kernel's answer.
 * @param attributesOf  takes a run of attributes apart, the payload by its type
 */
export function parseLink(
  answer: Buffer,
  attributesOf: (bytes: Buffer) => ReadonlyMap<number, Buffer>,
): Link {
  const found = attributesOf(answer.subarray(HEADER_LENGTH));
  const info = found.get(IFLA.LINKINFO);
  const kind = info && attributesOf(info).get(IFLA_INFO.KIND);
  const alias = found.get(IFLA.IFALIAS);
  const master = found.get(IFLA.MASTER);
  const mac = found.get(IFLA.ADDRESS);
  const otherNetns = found.get(IFLA.LINK_NETNSID);
  return {
    index: readU32(answer, INDEX_OFFSET),
    name: readText(found.get(IFLA.IFNAME) ?? Buffer.alloc(0)),
    up: (readU32(answer, FLAGS_OFFSET) & IFF_UP) !== 0,
    ...(kind && { kind: readText(kind) }),
    ...(alias && { alias: readText(alias) }),
    ...(master && { masterIndex: readU32(master) }),
    ...(mac && { mac: readMac(mac) }),
    ...(otherNetns && { otherNetns: readU32(otherNetns) }),
  };
}

/** GETNSID: which number our network namespace has for that of a process. */
export const netnsMessage = (pid: number): Message => [
  Buffer.alloc(NSID_HEADER_LENGTH),
  [NETNSA.PID, u32(pid)],
];

/** @param attributesOf  as in parseLink(); @returns 4294967295 where it has none for it */
export function parseNetns(
  answer: Buffer,
  attributesOf: (bytes: Buffer) => ReadonlyMap<number, Buffer>,
): number | undefined {
  const id = attributesOf(answer.subarray(NSID_HEADER_LENGTH)).get(NETNSA.NSID);
  return id && readU32(id);
}
