/**
 * The door to rtnetlink(7) (package netlink): makes, changes, reads and deletes links. Loaded lazily, by
 * `await import('../net/rtnetlink.js')`. Only the package's socket is used: bundled, that loads in 8 ms where
 * its tables of all rtnetlink attributes make it 26, and the whole package 45.
 */
import { createNetlink, type NetlinkSocket } from 'netlink/dist/netlink.js';
import { AttrStream, type NetlinkMessage, parseAttributes, parseError } from 'netlink/dist/structs.js';
import { errnoOf, Failure } from '../errors.js';
import {
  changeMessage,
  everyLinkMessage,
  type Link,
  type Message,
  namedMessage,
  netnsMessage,
  parseLink,
  parseNetns,
  RTM,
  type VethRequest,
  vethMessage,
  vlanMessage,
} from './link-messages.js';
import {
  everyNeighbourMessage,
  neighbourMessage,
  parseNeighbour,
  RTM_NEIGHBOUR,
} from './neighbour-messages.js';
import { linkFailure, NetlinkError } from './netlink-errors.js';

export type { Link, VethRequest } from './link-messages.js';

/** linux/netlink.h */
const NETLINK_ROUTE = 0;
const NLMSG_ERROR = 2;
const NLM_F_DUMP = 0x300;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CREATE_EXCL = 0x600;
const TIMEOUT_MS = 5_000;
/** A list that links were added to while it was read is read again, at most so often. */
const DUMP_TRIES = 5;

export interface HostEnd {
  readonly host: string;
  /** What marks the link as ours: `overlay-boot:NAME`. */
  readonly alias: string;
  /** Becomes a port of this bridge. */
  readonly bridge?: string | undefined;
  readonly up: boolean;
}

/**
 * A socket to the network namespace that this process was in when it was opened. Every method is one
 * request, two where a name has to become an index. Each throws a Failure that names the link; its `cause`
 * is a NetlinkError with the errno's name as `code`, ETIMEDOUT when the kernel does not answer within 5 s.
 */
export class RouteSocket {
  readonly #socket: NetlinkSocket;

  /** @throws Failure when the kernel gives no socket */
  constructor() {
    try {
      this.#socket = createNetlink(NETLINK_ROUTE);
    } catch (cause) {
      throw linkFailure({ doing: 'open an rtnetlink socket', cause });
    }
    // What fails while nothing is asked for (a full receive buffer, say) shows as a request without an answer.
    this.#socket.on('error', () => {});
  }

  /** Makes a veth pair; the end `inside` comes to be in the network namespace of process `netnsPid`. */
  async createVeth(request: VethRequest): Promise<void> {
    try {
      await this.#ask(RTM.NEWLINK, vethMessage(request), NLM_F_CREATE_EXCL);
    } catch (cause) {
      throw linkFailure({
        doing: `make veth pair ${request.host} - ${request.inside}`,
        module: 'veth',
        cause,
      });
    }
  }

  /**
   * Marks the host end of a cable as ours and plugs it into its bridge. Not part of `createVeth`, because
   * the kernel passes over IFLA_IFALIAS in a request that makes a link (seen on 6.18).
   */
  async configureHostEnd({ host, alias, bridge, up }: HostEnd): Promise<void> {
    const masterIndex = bridge === undefined ? undefined : await this.#bridgeIndex(bridge);
    try {
      await this.#ask(RTM.SETLINK, changeMessage(host, { alias, masterIndex, up: up ? true : undefined }));
    } catch (cause) {
      throw linkFailure({ doing: bridge ? `make ${host} a port of ${bridge}` : `set up ${host}`, cause });
    }
  }

  /** Brings a link up. */
  async setUp(name: string): Promise<void> {
    try {
      await this.#ask(RTM.SETLINK, changeMessage(name, { up: true }));
    } catch (cause) {
      throw linkFailure({ doing: `bring up ${name}`, cause });
    }
  }

  /** Makes a VLAN on a link. @param vlanId  1 to 4094 */
  async createVlan(vlan: { name: string; parent: string; vlanId: number }): Promise<void> {
    const { name, parent, vlanId } = vlan;
    const doing = `make VLAN ${name} on ${parent}`;
    const { index: parentIndex } = (await this.getLink(parent)) ?? {};
    if (parentIndex === undefined) throw new Failure({ what: `${doing}: no such interface: ${parent}` });
    try {
      await this.#ask(RTM.NEWLINK, vlanMessage({ name, parentIndex, vlanId }), NLM_F_CREATE_EXCL);
    } catch (cause) {
      throw linkFailure({ doing, module: '8021q', cause });
    }
  }

  /** A link, or undefined where there is none of that name. */
  async getLink(name: string): Promise<Link | undefined> {
    try {
      const [answer] = await this.#ask(RTM.GETLINK, namedMessage(name));
      return answer && parseLink(answer.data, attributesOf);
    } catch (cause) {
      if (isMissing(cause)) return undefined;
      throw linkFailure({ doing: `look for interface ${name}`, cause });
    }
  }

  /** The network namespace of a process as `otherNetns` of a link names it; undefined for one that has ended. */
  async netnsOf(pid: number): Promise<number | undefined> {
    try {
      const [answer] = await this.#ask(RTM.GETNSID, netnsMessage(pid));
      return answer && parseNetns(answer.data, attributesOf);
    } catch (cause) {
      if (errnoOf(cause) === 'ESRCH') return undefined;
      throw linkFailure({ doing: `look for the network namespace of process ${pid}`, cause });
    }
  }

  /** Every link of the network namespace. */
  async listLinks(): Promise<readonly Link[]> {
    try {
      for (let tries = 1; ; tries++) {
        const answers = await this.#ask(RTM.GETLINK, everyLinkMessage(), NLM_F_DUMP);
        const whole = answers.every((answer) => (answer.flags & NLM_F_DUMP_INTR) === 0);
        if (whole || tries === DUMP_TRIES) return answers.map(({ data }) => parseLink(data, attributesOf));
      }
    } catch (cause) {
      throw linkFailure({ doing: 'list interfaces', cause });
    }
  }

  /** Deletes a link; the other end of a veth pair and its VLANs go with it. Gone already is success. */
  async deleteLink(name: string): Promise<void> {
    try {
      await this.#ask(RTM.DELLINK, namedMessage(name));
    } catch (cause) {
      if (!isMissing(cause)) throw linkFailure({ doing: `delete interface ${name}`, cause });
    }
  }

  /**
   * Forgets who was asked for on a bridge and did not answer. The kernel asks again after a second only; who has come
   * meanwhile is then asked at the next packet.
   */
  async forgetUnanswered(bridges: readonly string[]): Promise<void> {
    try {
      const links = await Promise.all(bridges.map((bridge) => this.getLink(bridge)));
      const indices = links.map((link) => link?.index);
      const answers = await this.#ask(RTM_NEIGHBOUR.GET, everyNeighbourMessage(), NLM_F_DUMP);
      for (const { data } of answers) {
        const neighbour = parseNeighbour(data, attributesOf);
        if (neighbour.unanswered && indices.includes(neighbour.link))
          await this.#ask(RTM_NEIGHBOUR.DEL, neighbourMessage(neighbour));
      }
    } catch (cause) {
      if (!isMissing(cause))
        throw linkFailure({ doing: `forget who did not answer on ${bridges.join(', ')}`, cause });
    }
  }

  /** Ends it: nothing keeps the event loop alive then. Not to be called while a request is under way. */
  close(): void {
    this.#socket.close();
  }

  async #bridgeIndex(bridge: string): Promise<number> {
    const link = await this.getLink(bridge);
    if (link === undefined)
      throw new Failure({
        what: `bridge "${bridge}": no such interface`,
        todo: `make it with "ip link add ${bridge} type bridge && ip link set ${bridge} up" or in /etc/network/interfaces`,
      });
    if (link.kind !== 'bridge')
      throw new Failure({
        what: `bridge "${bridge}": it is no bridge but ${link.kind === undefined ? 'another interface' : `a ${link.kind}`}`,
        todo: 'name a bridge before the "=", or none',
      });
    return link.index;
  }

  /** @throws NetlinkError when the kernel refuses or does not answer */
  async #ask(type: number, message: Message, flags = 0): Promise<readonly NetlinkMessage[]> {
    const stream = new AttrStream();
    emit(message, stream);
    // checkError: the package would make text of the errno.
    const options = { flags, timeout: TIMEOUT_MS, checkError: false };
    const [answers] = await this.#socket.request(type, stream.bufs, options).catch((cause: unknown) => {
      throw cause instanceof Error && cause.message === 'Timeout has been reached' ? noAnswer(cause) : cause;
    });
    const [first] = answers;
    if (first?.type !== NLMSG_ERROR) return answers;
    const { errno } = parseError(first.data, first.flags);
    if (errno !== 0) throw new NetlinkError(-errno);
    return [];
  }
}

function emit(message: Message, stream: AttrStream): void {
  for (const part of message) {
    if (part instanceof Uint8Array) {
      stream.emit(part);
      continue;
    }
    const [type, payload] = part;
    stream.push(type, payload instanceof Uint8Array ? payload : (nested) => emit(payload, nested));
  }
}

function attributesOf(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  parseAttributes(bytes, ({ type, data }) => found.set(type, data));
  return found;
}

const isMissing = (cause: unknown): boolean => ['ENODEV', 'ENOENT'].includes(errnoOf(cause) ?? '');

function noAnswer(cause: Error): Error {
  const seconds = TIMEOUT_MS / 1000;
  return Object.assign(new Error(`no answer from the kernel within ${seconds} s`, { cause }), {
    code: 'ETIMEDOUT',
  });
}
