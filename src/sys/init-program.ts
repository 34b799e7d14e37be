/** Where the init program is: beside the bundles. */
import { join } from 'node:path';

/** Absolute path of the static C program; every bundle lies in a folder of dist/, the program in dist/ itself. */
export function initProgram(): string {
  return join(__dirname, '..', 'init');
}
