import { LametunError } from '../../errors.js';

/** Of what is said on the control socket; another number is not understood. The first lametun did not say its own. */
const CONTROL_PROTOCOL = 1;

/** Who speaks on the control socket: in every request, and in the first line of what is answered. */
export interface ControlSide {
  /** `lametun 0.1.0` */
  readonly program?: string | undefined;
  readonly protocol: number;
}

export const sideOf = (program: string | undefined): ControlSide => ({ program, protocol: CONTROL_PROTOCOL });

/** Whoever says nothing is from before it was said, and speaks the first protocol. */
export const readSide = (said: unknown): ControlSide => {
  const { program, protocol } = (said ?? {}) as { program?: unknown; protocol?: unknown };
  return {
    program: typeof program === 'string' ? program : undefined,
    protocol: typeof protocol === 'number' ? protocol : 1,
  };
};

/** Whether what the one does not know of the other may be because of their versions. */
export const mayDiffer = (theirs: ControlSide, ours: ControlSide): boolean =>
  theirs.program !== ours.program || theirs.protocol !== ours.protocol;

/** Says that the process that runs and the command are not of the same lametun. */
export function differ(running: ControlSide, command: ControlSide, cause?: Error): LametunError {
  return new LametunError(
    'protocol',
    `the running lametun is ${versionOf(running)}, this command is ${versionOf(command)}: restart it (\`lametun up\` when it is stopped, or systemctl restart), with the newer of the two`,
    { cause },
  );
}

const versionOf = ({ program }: ControlSide): string =>
  program === undefined ? 'another version' : program.replace(/^lametun /, '');
