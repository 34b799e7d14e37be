/** Boxes for root tests and the bench: images of a busybox that serves what it is over HTTP, on a bridge. */
import type { Completed, Running, Sandbox } from './namespaces.js';
import { makeBusyboxRoot } from './subhosts.js';

export const BOX_WAFERS = '/srv/t/w';
export const BOX_ENVIRONMENT = { WAFERS: BOX_WAFERS, STACKS: '/srv/t/m' } as const;
export const ADDRESS = '10.7.0.2';

/** /startup of an image: takes the address, and serves /srv. */
const startup = (start: string): string => `#!/bin/sh
case $1 in
start)
	ip address add ${ADDRESS}/24 dev eth0
	ip link set eth0 up
	${start} ;;
stop) killall httpd || : ;;
esac
`;

const SERVE = 'httpd -p 80 -h /srv';

/** Makes an archive /srv/t/NAME.tar.gz of a root that serves its own name as /version. */
export async function makeArchive(sandbox: Sandbox, name: string, start = SERVE): Promise<string> {
  const root = `/srv/t/roots/${name}`;
  await makeBusyboxRoot(sandbox, root);
  await sandbox.writeFile(`${root}/startup`, startup(start), 0o755);
  await sandbox.writeFile(`${root}/srv/version`, `${name}\n`);
  await sandbox.sh(`tar -C ${root} -czf /srv/t/${name}.tar.gz .; rm -r ${root}`);
  return `/srv/t/${name}.tar.gz`;
}

/** A bridge with the host's address on it: what a box's cable is a port of. */
export const makeBridge = async (sandbox: Sandbox): Promise<string> =>
  await sandbox.sh('ip link add br0 type bridge; ip address add 10.7.0.1/24 dev br0; ip link set br0 up');

/** The conf of a box with a cable to that bridge, as an administrator would write it beforehand. */
export async function writeBoxConf(sandbox: Sandbox, name: string, more = ''): Promise<void> {
  const base = `/var/lib/overlay-boot/boxes/${name}`;
  const conf = `BASE=${base}\nSTACK=${name}\nSTART=/startup\nCABLES=br0=02:00:00:00:00:01\n${more}`;
  await sandbox.sh(`mkdir -p ${base}`);
  await sandbox.writeFile(`/etc/overlay-boot/boxes/${name}.conf`, conf);
}

export async function boxctl(sandbox: Sandbox, ...args: readonly string[]): Promise<Completed> {
  return await sandbox.run(['boxctl', ...args], { env: BOX_ENVIRONMENT });
}

/** What a client that asked all the time has seen. */
export interface Seen {
  readonly asked: number;
  readonly failed: number;
  readonly outageMs: number;
  /** What was answered, each time that it was another. */
  readonly answers: readonly string[];
}

/** A client in the sandbox that asks the box every 10 ms. */
export class AskingClient {
  readonly #running: Running;

  constructor(sandbox: Sandbox) {
    const argv = [process.execPath, `${__dirname}/asking-client.cjs`, `http://${ADDRESS}/version`];
    this.#running = sandbox.spawn(argv);
  }

  /** The answers so far, each time that it was another. */
  get #lines(): string[] {
    return this.#running.stdout.split('\n').filter(Boolean);
  }

  /** Has it had an answer yet? */
  get answered(): boolean {
    return this.#lines.length > 0;
  }

  /** The last answer. */
  get last(): string | undefined {
    return this.#lines.at(-1);
  }

  /** Ends it; may be called again. */
  async end(): Promise<Seen> {
    this.#running.child.stdin?.end();
    await this.#running.completed();
    return JSON.parse(this.#lines.at(-1) ?? '') as Seen;
  }
}
