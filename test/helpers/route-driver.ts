/**
 * Runs in a sandbox: a RouteSocket worked by lines of JSON on stdin, `{"method": …, "args": […]}`, each
 * answered by one on stdout, `{"value": …}` or `{"failure": message, "code": errno's name}`.
 */
import { createInterface } from 'node:readline';
import { errnoOf } from '../../src/errors.js';
import { RouteSocket } from '../../src/net/rtnetlink.js';

const socket = new RouteSocket();
const methods = socket as unknown as Record<string, (...args: unknown[]) => unknown>;

createInterface(process.stdin)
  .on('line', (line) => void answer(JSON.parse(line)).then((reply) => console.log(JSON.stringify(reply))))
  .on('close', () => socket.close());

async function answer({ method, args }: { method: string; args: unknown[] }): Promise<object> {
  try {
    return { value: await methods[method]?.call(socket, ...args) };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { failure: error.message, kind: error.name, code: errnoOf(error.cause) };
  }
}
