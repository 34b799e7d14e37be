/** What a boot reads and checks before it touches anything. */
import { dirname } from 'node:path';
import { type ParsedConf, parseAssignments } from '../config/assignments.js';
import { capabilityWarnings } from '../config/capabilities.js';
import { checkPaths } from '../config/check.js';
import { identify, resolveLiterals, variablesFromCommands } from '../config/resolve.js';
import type { Identity, SubhostConfig } from '../config/subhost-config.js';
import { readTrusted } from '../config/trust.js';
import { throwAll } from '../errors.js';
import type { Stack } from '../stack/stack.js';
import { makePath } from '../sys/files.js';
import type { BootHost, BootRequest } from './boot-types.js';
import { runValueCommand } from './host-commands.js';
import { withImageStart } from './image-start.js';
import { checkLimits } from './limits.js';
import { stackOf } from './read-stack.js';

/** A conf as far as it is known without running its commands but those of BASE and NAME. */
export interface Prepared {
  readonly parsed: ParsedConf;
  readonly identity: Identity;
  /** Variables whose values come from commands: they get theirs in the subhost's mount namespace. */
  readonly commands: ReadonlySet<string>;
  /** The rest, with defaults in their places. */
  readonly config: SubhostConfig;
  /** Undefined where the root depends on a command. */
  readonly stack: Stack | undefined;
}

/** @throws UserError, Failure or ErrorList for everything that is wrong */
export async function prepare(host: BootHost, request: BootRequest): Promise<Prepared> {
  const { path: conf, text } = readTrusted(request.conf);
  const parsed = parseAssignments(text, conf);
  for (const warning of parsed.warnings) request.warn(warning);
  const outside = { binDir: host.binDir, timeoutMs: request.timeoutMs };
  const identity = await identify(parsed, conf, (command) =>
    runValueCommand(command, { CONFIG: conf, ACTION: 'overlay-boot' }, outside),
  );
  const commands = variablesFromCommands(parsed);
  const config = resolveLiterals(parsed, identity, host.settings);
  for (const warning of capabilityWarnings(config)) request.warn(warning);
  const { logDir } = host.settings;
  if (request.mkdir) {
    throwAll(checkPaths(config, commands, { logDir, willMake: true, guarded: host.guarded() }));
    makeDirectories(config, commands);
  }
  const known = { logDir, guarded: host.guarded() };
  throwAll(checkPaths(config, commands, commands.size > 0 ? known : { ...known, mounts: host.mounts() }));
  checkLimits(conf, config.limits, host.cgroupMount);
  const rooted = (['LOWER', 'UPPER', 'WORK', 'STACK'] as const).every((variable) => !commands.has(variable));
  const stack = rooted ? await stackOf(config, host) : undefined;
  return { parsed, identity, commands, config: withImageStart(config, stack, host.settings), stack };
}

/** --mkdir: what a first boot would otherwise ask the administrator to make. */
export function makeDirectories(config: SubhostConfig, commands: ReadonlySet<string>): void {
  const wanted: [string, string][] = [
    ['LIVE', config.live],
    ['UPPER', config.upper],
    ['WORK', config.work],
    ['LOG', dirname(config.log)],
  ];
  for (const [variable, path] of wanted) if (path && !commands.has(variable)) makePath(path, 0o755);
}
