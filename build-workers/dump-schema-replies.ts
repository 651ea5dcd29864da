// What a client of Postgres and its server say, as far as whose turn it is (PostgreSQL documentation, 54.7 Message Formats).

/** What the server says: `push` is true when it has said all it has to, and waits to be asked. */
export class ReplyReader {
  #head = Buffer.alloc(0)
  #skip = 0
  #isOver = false

  push(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at)
        this.#skip -= skipped
        at += skipped
        continue
      }
      // A type, a length, and of a request for proof which: R messages are never shorter.
      const wanted =
        this.#head[0] === authentication || (this.#head.length === 0 && chunk[at] === authentication) ? 9 : 5
      const taken = chunk.subarray(at, at + wanted - this.#head.length)
      this.#head = Buffer.concat([this.#head, taken])
      at += taken.length
      if (this.#head.length < wanted) break
      this.#skip = 1 + this.#head.readUInt32BE(1) - wanted
      this.#isOver = isLast(this.#head)
      this.#head = Buffer.alloc(0)
    }
    return this.#isOver && this.#skip === 0 && this.#head.length === 0
  }
}

const authentication = 'R'.charCodeAt(0)
const readyForQuery = 'Z'.charCodeAt(0)

// 0: it is let in; 12: the proof was good. More follows both.
function isLast(head: Buffer): boolean {
  return head[0] === readyForQuery || (head[0] === authentication && ![0, 12].includes(head.readUInt32BE(5)))
}

/** What the client says, which comes in any parts: `push` is true when it has asked something and waits. */
export class QuestionReader {
  #rest = Buffer.alloc(0)
  #hasStarted = false

  push(chunk: Uint8Array): boolean {
    this.#rest = Buffer.concat([this.#rest, chunk])
    let waits = false
    for (;;) {
      // The first packet has no type.
      const at = this.#hasStarted ? 1 : 0
      if (this.#rest.length < at + 4) break
      const size = at + this.#rest.readUInt32BE(at)
      if (this.#rest.length < size) break
      waits = !this.#hasStarted || 'QSp'.includes(String.fromCharCode(this.#rest[0] ?? 0))
      this.#hasStarted = true
      this.#rest = this.#rest.subarray(size)
    }
    return waits && this.#rest.length === 0
  }
}
