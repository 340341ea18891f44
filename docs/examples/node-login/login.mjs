// Logs in with the password in PASSWORD, and does the work that the server asks
// for where strangers failed at the account too often. Prints the access token.
// Use: ISSUER=http://localhost:8080 EMAIL=ada@example.com PASSWORD=… node login.mjs
import { createHash } from 'node:crypto'

const { ISSUER, EMAIL: email, PASSWORD: password } = process.env

async function login(proof) {
  const reply = await fetch(`${ISSUER}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ email, password, proof }),
  })
  return { ok: reply.ok, body: await reply.json() }
}

// work finds a number that makes the SHA-256 begin with so many zero bits.
function work({ challenge, bits }) {
  for (let n = 0; ; n++) {
    const proof = `${challenge}.${n}`
    const beginning = createHash('sha256').update(proof).digest().readUInt32BE()
    if (Math.clz32(beginning) >= bits) return proof
  }
}

let got = await login()
if (!got.ok && got.body.proof?.kind === 'work') got = await login(work(got.body.proof))
if (!got.ok) {
  console.error(`refused: ${got.body.code}: ${got.body.detail}`)
  process.exit(1)
}
console.log(got.body.access_token)
