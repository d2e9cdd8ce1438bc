/** A bound UDP socket, as a device needs it. */
export interface DeviceSocket {
  readonly fd: number;
  readonly family: number;
  readonly port: number;
  /** Sets SO_MARK of sent packets; 0 for none. */
  setMark(mark: number): void;
  close(): void;
}

/** How long the data plane may use a socket after the command to use another, milliseconds. */
const RETIREMENT = 1000;

/**
 * The socket of a device, which may move to another port. The data plane, another thread, takes a moment to follow, and
 * the number of a closed descriptor may soon be another file's. So the old socket stays open for a while, and is used
 * again if the device returns to its port.
 */
export class UdpSockets {
  readonly #open: (port: number) => DeviceSocket;
  readonly #retired = new Map<DeviceSocket, NodeJS.Timeout>();
  #current: DeviceSocket | undefined;

  /** @param open opens a socket on a port, 0 for any; throws a LinuxError */
  constructor(open: (port: number) => DeviceSocket) {
    this.#open = open;
  }

  get current(): DeviceSocket | undefined {
    return this.#current;
  }

  /**
   * Moves to a port; 0 for any.
   *
   * @throws LinuxError, mostly EADDRINUSE; then the socket is unchanged
   */
  move(port: number): DeviceSocket {
    if (port !== 0 && this.#current?.port === port) return this.#current;
    const before = this.#current;
    this.#current = this.#recall(port) ?? this.#open(port);
    if (before) this.#retire(before);
    return this.#current;
  }

  /** Call it when the data plane has ended. */
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
