import type { PlainEvent, StartEvent, StatsEvent } from '../plain/events.js';
import { StatusLine } from './status-line.js';

/** Shows a tunnel's events to a person or a program. */
export interface Reporter {
  readonly report: (event: PlainEvent) => void;
  /** Removes the status line. */
  close(): void;
}

/** One JSON object per line on stdout. */
export function jsonReporter(): Reporter {
  const report = (event: PlainEvent): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
  return { report: leaveOut(process.stdout, report), close() {} };
}

/**
 * Leaves out frequent events while the reader of a stream is behind: unread output waits in memory, and a reader that has
 * stopped must not fill it.
 */
function leaveOut(stream: NodeJS.WriteStream, report: Reporter['report']): Reporter['report'] {
  let missed = 0;
  return (event) => {
    if (!MANY.has(event.event)) return report(event);
    if (stream.writableNeedDrain) {
      if (event.event !== 'stats') missed += event.event === 'missed' ? event.count : 1;
      return;
    }
    if (missed > 0) report({ event: 'missed', count: missed });
    missed = 0;
    report(event);
  };
}

const MANY: ReadonlySet<PlainEvent['event']> = new Set(['packet', 'learned', 'missed', 'stats']);

/** Sentences on stderr, packets on stdout, and on a terminal a last line with the traffic. */
export function textReporter(): Reporter {
  const status = new StatusLine(process.stderr);
  let start: StartEvent | undefined;
  let last: { readonly at: number; readonly stats: StatsEvent } | undefined;

  const say = (text: string): void => status.above(() => process.stderr.write(`lametun: ${text}\n`));
  const report = (event: PlainEvent): void => {
    switch (event.event) {
      case 'start':
        start = event;
        for (const line of introduction(event)) say(line);
        break;
      case 'ready':
        break;
      case 'learned':
        say(`${event.inner} is behind ${event.outer}`);
        break;
      case 'packet': {
        const port = (number: number | undefined) => (number === undefined ? '' : ` port ${number}`);
        const way = event.direction === 'out' ? `to ${event.outer}` : `from ${event.outer}`;
        const from = event.source + port(event.sourcePort);
        const to = event.destination + port(event.destinationPort);
        const line = `${event.direction.padEnd(3)} ${event.length} bytes ${event.protocol} ${from} > ${to} ${way}`;
        status.above(() => process.stdout.write(`${line}\n`));
        break;
      }
      case 'missed':
        say(`${event.count} more not printed: the reader is too slow`);
        break;
      case 'stats': {
        const at = performance.now();
        if (start !== undefined) status.set(statusText(start, event, last, at));
        last = { at, stats: event };
        break;
      }
      case 'warning':
        say(`warning: ${event.message}`);
        break;
      case 'end':
        status.clear();
        say(event.message);
        break;
    }
  };
  return { report: leaveOut(process.stdout, report), close: () => status.clear() };
}

function introduction(event: StartEvent): string[] {
  const device = `device ${event.device}, MTU ${event.mtu}`;
  return [
    event.role === 'listen'
      ? `listening on UDP port ${event.port}; ${device}`
      : `connecting to ${event.servers.join(', then ')} from UDP port ${event.port}; ${device}`,
    'this tunnel is NEITHER ENCRYPTED NOR AUTHENTICATED: anyone on the way can read and forge packets',
  ];
}

function statusText(
  start: StartEvent,
  stats: StatsEvent,
  last: { readonly at: number; readonly stats: StatsEvent } | undefined,
  at: number,
): string {
  const seconds = last === undefined ? 0 : (at - last.at) / 1000;
  const rate = (now: number, before: number | undefined) =>
    seconds > 0 ? (now - (before ?? 0)) / seconds : 0;
  const bits = (now: number, before?: number) => `${withUnit(8 * rate(now, before))}bit/s`;
  const packets = (now: number, before?: number) => `${Math.round(rate(now, before))} p/s`;
  const drops = Object.values(stats.drops).reduce((sum, count) => sum + count, 0);
  const before = last?.stats;
  return [
    start.device,
    start.role === 'listen' ? clientCount(stats.clients) : stats.server,
    `out ${bits(stats.bytesOut, before?.bytesOut)} ${packets(stats.packetsOut, before?.packetsOut)}`,
    `in ${bits(stats.bytesIn, before?.bytesIn)} ${packets(stats.packetsIn, before?.packetsIn)}`,
    `${drops} dropped`,
  ].join(' | ');
}

const clientCount = (count: number): string => `${count} ${count === 1 ? 'client' : 'clients'}`;

/** `12.3 M`: three digits and a decimal prefix. */
function withUnit(value: number): string {
  const step = value < 1 ? 0 : Math.min(3, Math.floor(Math.log10(value) / 3));
  return `${Number((value / 1000 ** step).toPrecision(3))} ${['', 'k', 'M', 'G'][step]}`;
}
