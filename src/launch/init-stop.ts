/** `init stop` as a program of its own, for whoever has no launcher beside it. */
import { spawn } from 'node:child_process';
import { Failure } from '../errors.js';

/** @throws Failure with what it complains of */
export function initStop(initProgram: string, request: readonly string[]): Promise<string> {
  const child = spawn(initProgram, ['stop'], { stdio: ['pipe', 'pipe', 'pipe'], env: {} });
  let output = '';
  let complaint = '';
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString();
  });
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  child.stdin.on('error', () => {}); // it ended before it read them: its exit status says why
  child.stdin.end(request.map((text) => `${text}\0`).join(''));
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new Failure({ what: `cannot run ${initProgram}`, cause })));
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Failure({ what: complaint.trim() || `the init program ended with ${code}` }));
    });
  });
}
