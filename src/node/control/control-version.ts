import { LametunError } from '../../errors.js';

/** Version of the control protocol. Others are refused. The first lametun did not send its version. */
const CONTROL_PROTOCOL = 1;

/** One end of the control socket: sent with every request, and in the first line of its answers. */
export interface ControlSide {
  /** `lametun 0.1.0` */
  readonly program?: string | undefined;
  readonly protocol: number;
}

export const sideOf = (program: string | undefined): ControlSide => ({ program, protocol: CONTROL_PROTOCOL });

/** A process that does not send its side speaks version 1. */
export const readSide = (said: unknown): ControlSide => {
  const { program, protocol } = (said ?? {}) as { program?: unknown; protocol?: unknown };
  return {
    program: typeof program === 'string' ? program : undefined,
    protocol: typeof protocol === 'number' ? protocol : 1,
  };
};

/** Whether a misunderstanding may come from different versions. */
export const mayDiffer = (theirs: ControlSide, ours: ControlSide): boolean =>
  theirs.program !== ours.program || theirs.protocol !== ours.protocol;

/** The error when the running process and the command are of different versions. */
export function differ(running: ControlSide, command: ControlSide, cause?: Error): LametunError {
  return new LametunError(
    'protocol',
    `the running lametun is ${versionOf(running)}, this command is ${versionOf(command)}: restart it with the newer version (\`lametun down\`, then \`lametun up\`; or systemctl restart)`,
    { cause },
  );
}

const versionOf = ({ program }: ControlSide): string =>
  program === undefined ? 'another version' : program.replace(/^lametun /, '');
