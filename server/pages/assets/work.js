// Looks for a proof of work: challenge, dot, number, such that the SHA-256
// (FIPS 180-4) of the whole begins with so many zero bits. crypto.subtle would be
// asked a hundred thousand times, and is not there over plain HTTP.
const primes = []
for (let n = 2; primes.length < 64; n++) {
  if (primes.every((p) => n % p !== 0)) primes.push(n)
}
const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0
const constants = new Int32Array(primes.map((p) => fraction(Math.cbrt(p))))
const beginning = new Int32Array(primes.slice(0, 8).map((p) => fraction(Math.sqrt(p))))
const schedule = new Int32Array(64)

// compress lets state go on by the 64 bytes of block from at.
function compress(state, block, at) {
  const w = schedule
  for (let i = 0; i < 16; i++) {
    const j = at + 4 * i
    w[i] = (block[j] << 24) | (block[j + 1] << 16) | (block[j + 2] << 8) | block[j + 3]
  }
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15]
    const y = w[i - 2]
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10)
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0
  }
  let a = state[0], b = state[1], c = state[2], d = state[3]
  let e = state[4], f = state[5], g = state[6], h = state[7]
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i]) | 0
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  state[0] += a
  state[1] += b
  state[2] += c
  state[3] += d
  state[4] += e
  state[5] += f
  state[6] += g
  state[7] += h
}

// lastBlocks are what is left of a message of so many digits, with a one bit and
// the length behind it.
function lastBlocks(rest, done, digits) {
  const length = rest.length + digits
  const blocks = new Uint8Array(length + 9 <= 64 ? 64 : 128)
  blocks.set(rest)
  blocks[length] = 0x80
  new DataView(blocks.buffer).setUint32(blocks.length - 4, 8 * (done + length))
  return blocks
}

// search returns the first number that will do. The blocks that every attempt
// begins with are hashed once.
function search(challenge, bits) {
  const head = new TextEncoder().encode(challenge + '.')
  const done = head.length - head.length % 64
  const before = beginning.slice()
  for (let at = 0; at < done; at += 64) compress(before, head, at)
  const rest = head.subarray(done)
  const state = new Int32Array(8)
  for (let digits = 1, n = 0; ; digits++) {
    const blocks = lastBlocks(rest, done, digits)
    for (const end = 10 ** digits; n < end; n++) {
      for (let i = rest.length + digits - 1, m = n; i >= rest.length; i--, m = (m / 10) | 0) blocks[i] = 0x30 + m % 10
      state.set(before)
      for (let at = 0; at < blocks.length; at += 64) compress(state, blocks, at)
      if (bits <= 32 ? Math.clz32(state[0]) >= bits : state[0] === 0 && Math.clz32(state[1]) >= bits - 32) return String(n)
    }
  }
}

onmessage = ({ data }) => postMessage(data.challenge + '.' + search(data.challenge, data.bits))
