/**
 * CABLES of a conf: `[bridge]=[mac|.vlan]`, and the interface names they give. Pure.
 */
import { type Place, quoted, throwAll, UserError } from '../errors.js';

/** A veth pair: `NAMEn` on the host, `ethn` in the subhost. */
export interface VethCable {
  readonly kind: 'veth';
  /** Host end, `NAMEn`. */
  readonly host: string;
  /** Subhost end, `ethn`. */
  readonly inside: string;
  readonly bridge?: string;
  /** MAC address of the subhost's end, lower case, `aa:bb:cc:dd:ee:ff`. */
  readonly mac?: string;
}

/** A VLAN on the host end of the veth before it. */
export interface VlanCable {
  readonly kind: 'vlan';
  /** `NAMEn.N` */
  readonly host: string;
  /** Host end of the veth it lies on. */
  readonly parent: string;
  readonly vlanId: number;
  readonly bridge?: string;
}

export type CableSpec = VethCable | VlanCable;

/** IFNAMSIZ is 16 with the final NUL, linux/if.h. */
const MAX_INTERFACE_NAME = 15;
/** The largest tag of 802.1Q; the kernel's VLAN_VID_MASK - 1 is what it makes a link for. */
const MAX_VLAN_ID = 4095;
const MAX_KERNEL_VLAN_ID = 4094;

/**
 * Reads a CABLES value: `[bridge]=[mac|.vlan]` separated by blanks.
 * @param name  the subhost's, from which the interfaces have theirs
 * @throws UserError, or an ErrorList of all mistakes
 */
export function parseCables(text: string, name: string, at?: Place): CableSpec[] {
  const cables: CableSpec[] = [];
  const errors: Error[] = [];
  const reader = { name, parent: undefined, count: 0, taken: new Set<string>() };
  for (const word of text.split(/[ \t\r\f\v]+/).filter((part) => part !== '')) {
    try {
      cables.push(readCable(word, reader));
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      errors.push(new UserError({ at, what: `CABLES: ${error.message}`, todo: error.todo }));
    }
  }
  throwAll(errors);
  return cables;
}

/** What a cable depends on of the ones before it. */
interface Reader {
  readonly name: string;
  /** Host end of the nearest cable that is no VLAN. */
  parent: string | undefined;
  /** Number of the next cable that is no VLAN. */
  count: number;
  /** MAC addresses and VLAN links that are given already. */
  readonly taken: Set<string>;
}

class Mistake extends Error {
  readonly todo: string | undefined;
  constructor(what: string, todo?: string) {
    super(what);
    this.todo = todo;
  }
}

function readCable(word: string, reader: Reader): CableSpec {
  const equals = word.indexOf('=');
  const bridge = equals < 0 ? '' : word.slice(0, equals);
  const right = word.slice(equals + 1);
  // The cable counts even if there is a mistake in it: the ones after it keep their names.
  const index = right.startsWith('.') ? undefined : reader.count++;
  if (index !== undefined) reader.parent = `${reader.name}${index}`;
  if (equals < 0) throw new Mistake(`${quoted(word)} has no "="`, withEquals(word));
  if (bridge !== '' && !isInterfaceName(bridge))
    throw new Mistake(
      `${quoted(word)}: ${quoted(bridge)} is no interface name`,
      'a bridge has 1 to 15 characters without "/" and ":"',
    );
  const onBridge = bridge === '' ? {} : { bridge };
  return index === undefined
    ? readVlan(word, right.slice(1), onBridge, reader)
    : readVeth(word, right, onBridge, index, reader);
}

/** `br0` was meant as `br0=`, a MAC address as `=MAC`, `.7` as `=.7`. */
function withEquals(word: string): string {
  if (word.startsWith('.')) return `write =${visible(word)} for a VLAN on the cable before`;
  if (word.includes(':')) return `write =${visible(word)} for a cable with this MAC address`;
  return `write ${visible(word)}= for a cable on bridge ${visible(word)}`;
}

const visible = (word: string): string => quoted(word).slice(1, -1);

function readVeth(
  word: string,
  mac: string,
  onBridge: { bridge?: string },
  index: number,
  reader: Reader,
): VethCable {
  const host = fittingName(word, `${reader.name}${index}`);
  return {
    kind: 'veth',
    host,
    inside: `eth${index}`,
    ...onBridge,
    ...(mac !== '' && { mac: readMac(word, mac, reader) }),
  };
}

function readMac(word: string, text: string, reader: Reader): string {
  const mac = text.toLowerCase();
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac))
    throw new Mistake(`${quoted(word)}: ${quoted(text)} is no MAC address`, 'write it as 02:00:00:00:00:01');
  if (mac === '00:00:00:00:00:00')
    throw new Mistake(
      `${quoted(word)}: the MAC address is all zero`,
      'leave it out, and the kernel picks one',
    );
  // The lowest bit of the first byte is the group bit, IEEE 802.
  if (Number.parseInt(mac.slice(0, 2), 16) & 1)
    throw new Mistake(
      `${quoted(word)}: ${mac} is a multicast address`,
      'the first byte of a MAC address is even',
    );
  if (reader.taken.has(mac))
    throw new Mistake(`${quoted(word)}: ${mac} is given twice`, 'each cable needs a MAC address of its own');
  reader.taken.add(mac);
  return mac;
}

function readVlan(word: string, id: string, onBridge: { bridge?: string }, reader: Reader): VlanCable {
  const { parent } = reader;
  const vlanId = Number(id);
  if (!/^[1-9][0-9]{0,3}$/.test(id) || vlanId > MAX_VLAN_ID)
    throw new Mistake(
      `${quoted(word)}: ${quoted(`.${id}`)} is no VLAN`,
      `write .N with N from 1 to ${MAX_VLAN_ID}`,
    );
  if (onBridge.bridge !== undefined && vlanId > MAX_KERNEL_VLAN_ID)
    throw new Mistake(
      `${quoted(word)}: VLAN ${vlanId} cannot be on a bridge`,
      `the kernel makes 1 to ${MAX_KERNEL_VLAN_ID}; write =.${vlanId} to leave it to ifup`,
    );
  if (parent === undefined)
    throw new Mistake(
      `${quoted(word)}: a VLAN with no cable before it`,
      `put the cable it belongs to first, for example = ${visible(word)}`,
    );
  const host = fittingName(word, `${parent}.${vlanId}`);
  if (reader.taken.has(host))
    throw new Mistake(`${quoted(word)}: VLAN ${vlanId} on ${parent} is given twice`, 'leave one of them out');
  reader.taken.add(host);
  return { kind: 'vlan', host, parent, vlanId, ...onBridge };
}

function fittingName(word: string, name: string): string {
  if (name.length <= MAX_INTERFACE_NAME) return name;
  throw new Mistake(
    `${quoted(word)}: interface name ${name} has ${name.length} characters, the kernel allows ${MAX_INTERFACE_NAME}`,
    'give the subhost a shorter NAME',
  );
}

/** dev_valid_name() of the kernel, and no control characters, which nobody means. */
function isInterfaceName(name: string): boolean {
  return (
    Buffer.byteLength(name) <= MAX_INTERFACE_NAME &&
    name !== '.' &&
    name !== '..' &&
    /^[^/:\s\p{C}]+$/u.test(name)
  );
}
