/** The door to pseudoterminals (node-pty). Loaded lazily: only a command on a terminal needs it. */
import { spawn } from 'node-pty';

export interface TerminalSize {
  readonly cols: number;
  readonly rows: number;
}

/** A program on a pty of the host; bytes go in and out as they are. */
export interface Pty {
  onOutput(listener: (bytes: Buffer) => void): void;
  /** Called once, after all output that is going to come; `status` is 128+n for a signal. */
  onExit(listener: (status: number) => void): void;
  write(bytes: Buffer): void;
  resize(size: TerminalSize): void;
  signal(name: NodeJS.Signals): void;
}

/** Starts a program, by absolute path, on a new pty, with nothing of our environment. */
export function openPty(file: string, args: readonly string[], { cols, rows }: TerminalSize): Pty {
  // A size of 0 is what a terminal without one has (a serial line); node-pty refuses it.
  const size = (size: TerminalSize): [number, number] => [size.cols || 80, size.rows || 24];
  const [firstCols, firstRows] = size({ cols, rows });
  const pty = spawn(file, [...args], { cols: firstCols, rows: firstRows, cwd: '/', env: {}, encoding: null });
  return {
    onOutput: (listener) => {
      // With encoding null it gives buffers, whatever its types say.
      pty.onData((bytes: unknown) => {
        if (bytes instanceof Buffer) listener(bytes);
      });
    },
    onExit: (listener) => {
      pty.onExit(({ exitCode, signal }) => listener(signal ? 128 + signal : exitCode));
    },
    write: (bytes) => pty.write(bytes),
    resize: (newSize) => pty.resize(...size(newSize)),
    signal: (name) => pty.kill(name),
  };
}
