import type { TestContext } from 'node:test';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { type InterfaceOptions, WireGuardInterface } from '../../src/device/interface.js';
import type { SetContext } from '../../src/device/uapi/set.js';
import { LinuxError } from '../../src/linux/ffi/errno.js';
import type { Log } from '../../src/log.js';
import { FakeEngine } from './fake-engine.js';

/** A WireGuard interface without kernel or network: its engine and sockets are fakes. */
export interface FakeInterface extends SetContext {
  readonly device: WireGuardInterface;
  readonly engine: FakeEngine;
  /** The log. Errors have `ERROR` in front. */
  readonly lines: string[];
  /** The marks of the open sockets, by port. */
  readonly sockets: Map<number, number>;
  /** Ports that another program uses. */
  readonly taken: Set<number>;
}

/** The first port given to an interface that asks for any port; each further request gets the next one. */
export const FIRST_PORT = 40_000;

export function fakeInterface(
  t: Pick<TestContext, 'after'>,
  options: Partial<Pick<InterfaceOptions, 'paths' | 'sideChannel' | 'port' | 'egress'>> = {},
): FakeInterface {
  const lines: string[] = [];
  const log: Log = {
    isVerbose: true,
    verbose: (text) => void lines.push(text),
    error: (text) => void lines.push(`ERROR ${text}`),
  };
  const sockets = new Map<number, number>();
  const taken = new Set<number>();
  let nextPort = FIRST_PORT;
  let engine!: FakeEngine;
  const device = new WireGuardInterface({
    egress: () => 'no route',
    ...options,
    crypto: new NodeCrypto(),
    wallClock: () => 1_700_000_000_123,
    log,
    engine: (events) => {
      engine = new FakeEngine(events);
      return engine;
    },
    openSocket: (wanted) => {
      const port = wanted || nextPort++;
      if (taken.has(port) || sockets.has(port)) throw new LinuxError(`listen on UDP port ${port}`, 98);
      sockets.set(port, 0);
      return {
        fd: port,
        family: 10,
        port,
        setMark: (mark) => void sockets.set(port, mark),
        close: () => void sockets.delete(port),
      };
    },
  });
  t.after(() => device.close());
  return { device, engine, lines, sockets, taken, log, interfaceIndex: (name) => (name === 'eth7' ? 7 : 0) };
}
