/** The conf of a box for systemd-nspawn: which variables hold there, and what is said of the others. */
import { readFileSync, statSync } from 'node:fs';
import { type Assignment, parseAssignments } from '../config/assignments.js';
import { engineOf, identify, resolveLiterals, variablesFromCommands } from '../config/resolve.js';
import type { Settings } from '../config/settings.js';
import type { Engine, SubhostConfig } from '../config/subhost-config.js';
import { readTrusted } from '../config/trust.js';
import type { VariableName } from '../config/variables.js';
import { throwAll, UserError } from '../errors.js';
import { boxUnit } from '../plan/nspawn-unit.js';
import type { BootHost } from './boot-types.js';
import { boxConf, checkBoxConf } from './box-conf.js';

/** What runs a box, by its conf; one that has none yet gets one that says nothing of it. */
export function engineOfBox(settings: Pick<Settings, 'boxes' | 'runDir'>, name: string): Engine {
  const conf = boxConf(settings, name);
  if (!statSync(conf, { throwIfNoEntry: false })) return 'subhost';
  return engineOf(parseAssignments(readFileSync(conf, 'utf8'), conf));
}

/** Variables that systemd-nspawn has nothing for, or something else: what to do instead. */
const UNFIT: Partial<Record<VariableName, (name: string) => string>> = {
  LIVE: () => 'leave it out: its root is mounted where its point is',
  START: () => "leave it out: the box's own systemd starts its services",
  INIT: () => 'leave it out: it starts the systemd of the box',
  PREMOUNT: () => 'leave it out',
  POSTMOUNT: () => 'leave it out',
  RAM_SIZE: () => 'leave it out: it makes /run itself',
  LOG: (name) => `leave it out: "journalctl --unit=${boxUnit(name)}" shows what the box prints`,
  CAPS: (name) => `write Capability= and DropCapability= in /etc/systemd/nspawn/${name}.nspawn`,
};

/**
 * The conf of a box that systemd-nspawn runs.
 * @throws UserError, or an ErrorList of all that does not go with it
 */
export async function nspawnConfig(
  { settings }: Pick<BootHost, 'settings'>,
  name: string,
  warn: (line: string) => void,
): Promise<SubhostConfig> {
  const { path: conf, text } = readTrusted(boxConf(settings, name));
  const parsed = parseAssignments(text, conf);
  for (const warning of parsed.warnings) warn(warning);
  const given = parsed.assignments.filter(({ value, command }) => value !== '' || command);
  const misfits = given.flatMap((assignment) => unfit(assignment, name));
  // What those two commands say would be needed for the rest.
  if (given.some(({ name: variable, command }) => command && ['BASE', 'NAME'].includes(variable)))
    throwAll(misfits);
  const identity = await identify(parsed, conf, async () => '');
  const config = resolveLiterals(parsed, identity, settings);
  checkBoxConf({ identity, config, commands: variablesFromCommands(parsed) }, name);
  throwAll([...misfits, ...cableMistakes(given, config), ...nameMistakes(config)]);
  return config;
}

function unfit({ name: variable, command, file, line }: Assignment, name: string): Error[] {
  const at = { file, line };
  const todo = UNFIT[variable]?.(name);
  if (todo !== undefined) return [new UserError({ at, what: `${variable} is not for ENGINE=nspawn`, todo })];
  const mistake = { at, what: `${variable}: a command is not for ENGINE=nspawn`, todo: 'write the value' };
  return command ? [new UserError(mistake)] : [];
}

/** Of what a cable can be, one link is what systemd-nspawn makes. */
function cableMistakes(given: readonly Assignment[], { cables }: SubhostConfig): Error[] {
  const assignment = given.find(({ name }) => name === 'CABLES');
  if (!assignment) return [];
  const { file, line } = assignment;
  const mistake = (what: string, todo: string): Error =>
    new UserError({ at: { file, line }, what: `CABLES: ${what} is not for ENGINE=nspawn`, todo });
  return [
    ...(cables.length > 1
      ? [mistake('more than one cable', 'write one, and others in its .nspawn file (VirtualEthernetExtra=)')]
      : []),
    ...(cables.some((cable) => cable.kind === 'veth' && cable.mac !== undefined)
      ? [mistake('a MAC address', 'leave it out: that of a container is made of its name, and stays')]
      : []),
  ];
}

/** hostname(7); what systemd has as the name of a machine. */
function nameMistakes({ conf, name }: SubhostConfig): Error[] {
  if (/^[A-Za-z0-9]+([.-][A-Za-z0-9]+)*$/.test(name.replace(/-+/g, '-'))) return [];
  return [
    new UserError({
      what: `${conf}: a box ${name} is not for ENGINE=nspawn: systemd takes names of hosts only`,
      todo: 'letters, digits, "-" and "." with one of the first two at both ends',
    }),
  ];
}
