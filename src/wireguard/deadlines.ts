/** The fields that `Deadlines` keeps in its members. */
export interface Deadlined {
  /** The member's deadline; Infinity for none. Written by `Deadlines` only. */
  deadline: number;
  /** Its place in the heap, -1 outside. Written by `Deadlines` only. */
  heapIndex: number;
}

/** A binary heap of deadlines. Members know their position, so changing a deadline takes log n. */
export class Deadlines<T extends Deadlined> {
  readonly #heap: T[] = [];

  /** The earliest deadline of all. */
  next(): number {
    return this.#heap[0]?.deadline ?? Infinity;
  }

  /** The member with the earliest deadline, if it has passed. It stays until its deadline is set again. */
  due(now: number): T | undefined {
    const first = this.#heap[0];
    return first !== undefined && first.deadline <= now ? first : undefined;
  }

  set(member: T, deadline: number): void {
    member.deadline = deadline;
    if (deadline === Infinity) {
      this.delete(member);
      return;
    }
    if (member.heapIndex < 0) {
      member.heapIndex = this.#heap.length;
      this.#heap.push(member);
    }
    this.#settle(member);
  }

  delete(member: T): void {
    const { heapIndex } = member;
    if (heapIndex < 0) return;
    member.heapIndex = -1;
    member.deadline = Infinity;
    const last = this.#heap.pop()!;
    if (last === member) return;
    this.#heap[heapIndex] = last;
    last.heapIndex = heapIndex;
    this.#settle(last);
  }

  /** Moves a member up or down until all above it are earlier and all below it are later. */
  #settle(member: T): void {
    const heap = this.#heap;
    let index = member.heapIndex;
    for (
      let up = (index - 1) >> 1;
      index > 0 && heap[up]!.deadline > member.deadline;
      up = (index - 1) >> 1
    ) {
      this.#put(heap[up]!, index);
      index = up;
    }
    for (let down = this.#earlier(index); down > 0; down = this.#earlier(index)) {
      if (heap[down]!.deadline >= member.deadline) break;
      this.#put(heap[down]!, index);
      index = down;
    }
    this.#put(member, index);
  }

  /** The earlier of the two children of an index; 0 if it has no child. */
  #earlier(index: number): number {
    const left = 2 * index + 1;
    const right = left + 1;
    if (left >= this.#heap.length) return 0;
    if (right >= this.#heap.length) return left;
    return this.#heap[right]!.deadline < this.#heap[left]!.deadline ? right : left;
  }

  #put(member: T, index: number): void {
    this.#heap[index] = member;
    member.heapIndex = index;
  }
}
