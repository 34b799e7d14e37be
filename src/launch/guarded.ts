/** What other subhosts can have prepared: where the host follows no link for this one. */
import { realPath } from '../stack/root-kind.js';
import { listStates, readState } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';

/** What a subhost can change of the host: its UPPER and what is shared with it; the host's own root is none of them. */
export const changedBy = ({ upper, shares }: SubhostState): string[] =>
  [upper, ...shares.filter(({ readOnly }) => !readOnly).map(({ host }) => host)]
    .filter(Boolean)
    .map(realPath)
    .filter((path) => path !== '/');

/** The same of all that have a record: the directories, and whose they are. */
export function changedBySubhosts(runDir: string): ReadonlyMap<string, string> {
  return new Map(
    listStates(runDir).flatMap((name) => {
      const state = quietly(() => readState(runDir, name));
      return state ? changedBy(state).map((path) => [path, name] as const) : [];
    }),
  );
}

/** A record that cannot be read is told of by whoever needs it. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
