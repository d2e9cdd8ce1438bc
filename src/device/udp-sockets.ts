/** A bound UDP socket, as a device needs it. */
export interface DeviceSocket {
  readonly fd: number;
  readonly family: number;
  readonly port: number;
  /** SO_MARK of what is sent; 0 for none. */
  setMark(mark: number): void;
  close(): void;
}

/** How long the data plane may go on with a socket after it was told of another, milliseconds. */
const RETIREMENT = 1000;

/**
 * The socket of a device, which may move to another port. The data plane, another thread, takes a moment to
 * follow, and a descriptor that was closed under it may soon be another file's. So the old one stays open for a
 * while; whoever wants its port back meanwhile gets it.
 */
export class UdpSockets {
  readonly #open: (port: number) => DeviceSocket;
  readonly #retired = new Map<DeviceSocket, NodeJS.Timeout>();
  #current: DeviceSocket | undefined;

  /** @param open makes a socket on a port, any for 0; throws a LinuxError */
  constructor(open: (port: number) => DeviceSocket) {
    this.#open = open;
  }

  get current(): DeviceSocket | undefined {
    return this.#current;
  }

  /**
   * Moves to a port; to any with 0.
   *
   * @throws LinuxError, EADDRINUSE above all; the socket is the same as before then
   */
  move(port: number): DeviceSocket {
    if (port !== 0 && this.#current?.port === port) return this.#current;
    const before = this.#current;
    this.#current = this.#recall(port) ?? this.#open(port);
    if (before) this.#retire(before);
    return this.#current;
  }

  /** To be called when the data plane has ended. */
  close(): void {
    for (const [socket, timer] of this.#retired) {
      clearTimeout(timer);
      socket.close();
    }
    this.#retired.clear();
    this.#current?.close();
    this.#current = undefined;
  }

  #recall(port: number): DeviceSocket | undefined {
    for (const [socket, timer] of this.#retired) {
      if (socket.port !== port) continue;
      clearTimeout(timer);
      this.#retired.delete(socket);
      return socket;
    }
    return undefined;
  }

  #retire(socket: DeviceSocket): void {
    const timer = setTimeout(() => {
      this.#retired.delete(socket);
      socket.close();
    }, RETIREMENT);
    this.#retired.set(socket, timer);
  }
}
