/** Entering a subhost from where the command was called: overlay-go and boxctl. */
import { isatty } from 'node:tty';
import { type EnterRequest, enterOnTerminal, enterPlainly } from '../launch/enter.js';
import type { SubhostState } from '../state/subhost-state.js';

/**
 * Runs the request with our stdin, stdout and stderr, or on a terminal of its own where they are one.
 * @returns its exit status, 128+n for signal n, 127 or 126 for a command that could not be executed
 */
export async function enter(state: SubhostState, request: EnterRequest): Promise<number> {
  return isOnTerminal(request.command)
    ? await enterOnTerminal(state, request, { input: process.stdin, output: process.stdout })
    : await enterPlainly(state, request);
}

/** A terminal has one output only: a command whose stderr goes elsewhere keeps it apart, and so has none. */
function isOnTerminal(words: readonly string[]): boolean {
  // Not process.stdin.isTTY: that makes the stream, and a pipe then has O_NONBLOCK set for everybody who has it.
  const [input, output, errors] = [isatty(0), isatty(1), isatty(2)];
  return input && output && (words.length === 0 || errors);
}
