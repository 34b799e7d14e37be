/** What the kernel's refusals mean for a link, in an administrator's words. */
import { getSystemErrorName } from 'node:util';
import { errnoOf, Failure } from '../errors.js';

/** The answer to most questions for a link; Node's table of errno names takes a while to load. */
const ENODEV = 19;

/** A request that the kernel refused; `code` is the errno's name, as with Node's own errors. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly code: string;

  /** @param errno  positive, as in errno(3) */
  constructor(readonly errno: number) {
    const code = errno === ENODEV ? 'ENODEV' : getSystemErrorName(-errno);
    super(code);
    this.code = code;
  }
}

/** What was to be done to a link, and what came in between. */
export interface LinkTask {
  /** Verb first: `make veth pair mta0`. */
  readonly doing: string;
  /** The kernel module of the link's kind: `8021q`. */
  readonly module?: string;
  readonly cause: unknown;
}

const REASONS: Readonly<Record<string, string>> = {
  EEXIST: 'an interface of that name exists already',
  EPERM: 'must be root',
  EACCES: 'must be root',
  ENODEV: 'no such interface',
  ESRCH: 'no such process: the network namespace is gone',
  EADDRNOTAVAIL: 'the MAC address is no unicast address',
  ERANGE: 'a value is out of the range the kernel takes',
  EBUSY: 'it is in use',
};

/** A Failure that names the link and the reason; its cause is the NetlinkError, or what Node said. */
export function linkFailure({ doing, module, cause }: LinkTask): Failure {
  if (module !== undefined && cause instanceof NetlinkError && cause.code === 'ENOTSUP')
    return new Failure({
      what: `${doing}: the kernel does not know the kind`,
      todo: `load its module with "modprobe ${module}", or use a kernel built with it`,
      cause,
    });
  const code = errnoOf(cause) ?? '';
  const reason = REASONS[code];
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Failure({ what: `${doing}: ${reason === undefined ? why : `${reason} (${code})`}`, cause });
}
