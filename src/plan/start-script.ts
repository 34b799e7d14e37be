/** The script that pid 1 runs first: it starts the services and ends by becoming the reaper. Pure. */

/**
 * `$1` is where the reaper is. Descriptor 3 takes the name of each service that failed, a line each; every
 * service has it closed, so that a daemon cannot write to it. The names are checked where they enter
 * (letters, digits, and `/._+@:-`), so they need no quoting.
 */
const PROLOGUE = `cd /
session=
command -v setsid >/dev/null 2>&1 && session=setsid
start() {
	name=$1
	case $name in
	/*) set -- "$name" start ;;
	*)
		if command -v service >/dev/null 2>&1; then
			set -- service "$name" start
		else
			set -- "/etc/init.d/$name" start
		fi
		;;
	esac
	$session "$@" </dev/null 3>&- || echo "$name" >&3
}
`;

/** What the built-in script ends with; INIT=+COMMAND puts its output before it. */
const EPILOGUE = 'exec "$1" 3>&-\n';

export interface StartScript {
  /** START's services in order. */
  readonly services: readonly string[];
  /** START was not given: what the root does not have is passed over. */
  readonly passOverMissing: boolean;
}

/**
 * The text of the start script.
 * @param more  shell lines from INIT=+COMMAND, run before the last exec
 */
export function startScript({ services, passOverMissing }: StartScript, more = ''): string {
  const lines = services.map((service) =>
    passOverMissing ? `[ ! -x /etc/init.d/${service} ] || start ${service}\n` : `start ${service}\n`,
  );
  const extra = more === '' || more.endsWith('\n') ? more : `${more}\n`;
  return `${services.length > 0 ? PROLOGUE : ''}${lines.join('')}${extra}${EPILOGUE}`;
}

/**
 * The command inside that stops a service, in the same way as the start script starts it.
 * @param passOverMissing  as in StartScript: a service that the root does not have is none to stop
 */
export function stopCommand(service: string, passOverMissing = false): string[] {
  if (service.startsWith('/')) return [service, 'stop'];
  const passOver = passOverMissing ? '[ -x "/etc/init.d/$1" ] || exit 0; ' : '';
  return [
    '/bin/sh',
    '-c',
    `${passOver}command -v service >/dev/null 2>&1 && exec service "$1" stop; exec "/etc/init.d/$1" stop`,
    'stop',
    service,
  ];
}
