// Verifies access tokens of tokenhouse offline, and refuses what was revoked: the
// signed status list that a token names says so within its ttl
// (draft-ietf-oauth-status-list). A service makes one verifier at its start:
//
//   const verify = createVerifier({ issuer: 'https://auth.example.com', audience: 'https://api.example.com' })
//   const claims = await verify(token) // or throws Refused
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import { inflateSync } from 'node:zlib'

const algorithms = ['ES256', 'ES384', 'EdDSA', 'PS256', 'RS256'] // a public key must never be tried as a secret
const clockTolerance = 30 // seconds that the clocks of issuer and verifier may differ
const maxToken = 16 << 10 // bytes
const fetchTimeout = 5_000 // ms
const fetchInterval = 1 // seconds between two fetches of one list
const maxBody = 2 << 20 // bytes of a list as it is sent
const maxList = 1 << 20 // bytes of a list, inflated: eight million tokens
const maxLists = 64

// Refused is why a token is not accepted. reason is 'invalid token', 'token expired',
// 'token revoked' (all three: 401) or 'unavailable' (503: it is no reason to sign anybody out).
export class Refused extends Error {
  constructor(reason, why) {
    super(`${reason} (${why})`)
    this.reason = reason
  }
}

// createVerifier returns a function from a token to its claims. While status lists
// cannot be had, a list serves on until it expires; then every token is refused, or,
// with failOpen, accepted unless it was seen revoked.
export function createVerifier({ issuer, audience = issuer, failOpen = false }) {
  // Fetched when a token names a key that is not known, at most every five seconds
  // however many such tokens come.
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`), {
    timeoutDuration: fetchTimeout, cooldownDuration: 5_000, cacheMaxAge: 300_000,
  })
  const lists = createStatusLists({ issuer, keys, failOpen })
  return async (token) => {
    let payload
    if (token.length > maxToken) throw new Refused('invalid token', 'it is too long')
    try {
      ;({ payload } = await jwtVerify(token, keys, {
        issuer, audience, algorithms, clockTolerance,
        typ: 'at+jwt', // RFC 9068: an ID token is no access token
        requiredClaims: ['sub', 'exp', 'iat', 'jti', 'org_id', 'status'],
      }))
    } catch (err) {
      throw refusal(err)
    }
    if (await lists.revoked(payload.status?.status_list)) throw new Refused('token revoked', 'status list')
    return payload
  }
}

function refusal(err) {
  if (err instanceof Refused) return err
  if (err instanceof errors.JWTExpired) return new Refused('token expired', err.code)
  const keysAreOut = !(err instanceof errors.JOSEError) || ['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC'].includes(err.code)
  return new Refused(keysAreOut ? 'unavailable' : 'invalid token', err.code ?? err.message)
}

function createStatusLists({ issuer, keys, failOpen }) {
  const known = new Map() // by uri
  const prefix = `${issuer}/oauth2/status-lists/`

  // A token must not make us fetch what it likes: only lists of its issuer.
  const isOurs = (uri) => typeof uri === 'string' && uri.startsWith(prefix) && /^[\w-]{1,64}$/.test(uri.slice(prefix.length))

  async function revoked(reference) {
    const { uri, idx } = reference ?? {}
    if (!isOurs(uri) || !Number.isSafeInteger(idx) || idx < 0) throw new Refused('invalid token', 'it names no status list of its issuer')
    const list = await current(uri)
    if (!list) return false // failOpen, and no list was ever seen
    const byte = list.bytes[Math.floor((idx * list.bits) / 8)]
    if (byte === undefined) throw new Refused('invalid token', 'its index is not in its status list')
    return ((byte >> (idx * list.bits) % 8) & ((1 << list.bits) - 1)) !== 0
  }

  async function current(uri) {
    const now = Date.now() / 1000
    const entry = known.get(uri) ?? { tried: -Infinity }
    if (entry.list && now < entry.list.until) return entry.list
    if (now - entry.tried >= fetchInterval) { // everybody who comes meanwhile waits for the one fetch
      entry.tried = now
      entry.fetch = load(uri).then(
        (list) => { entry.failed = undefined; if (!entry.list || list.iat >= entry.list.iat) entry.list = list },
        (err) => { entry.failed = err },
      )
      known.delete(uri)
      known.set(uri, entry)
      if (known.size > maxLists) known.delete(known.keys().next().value)
    }
    await entry.fetch
    if (failOpen || (entry.list && now < entry.list.exp)) return entry.list
    throw new Refused('unavailable', entry.failed?.message ?? 'the status list is too old')
  }

  async function load(uri) {
    const res = await fetch(uri, {
      headers: { Accept: 'application/statuslist+jwt' }, redirect: 'error', signal: AbortSignal.timeout(fetchTimeout),
    })
    if (res.status !== 200) throw new Error(`the status list was answered ${res.status}`)
    const { payload } = await jwtVerify(await bounded(res.body), keys, {
      issuer, algorithms, clockTolerance,
      subject: uri, // a list about another list says nothing
      typ: 'statuslist+jwt',
      requiredClaims: ['iat', 'exp', 'ttl', 'status_list'],
    })
    const { iat, exp, ttl, status_list: { bits, lst } } = payload
    if (iat > Date.now() / 1000 + clockTolerance) throw new Error('the status list is of the future')
    if (![1, 2, 4, 8].includes(bits) || typeof ttl !== 'number' || !(ttl > 0) || typeof lst !== 'string') throw new Error('the status list is malformed')
    const bytes = inflateSync(Buffer.from(lst, 'base64url'), { maxOutputLength: maxList }) // throws beyond that
    // The time that is signed counts, not when it arrived: somebody between may have kept it.
    return { bits, bytes, iat, exp, until: Math.min(iat + ttl, exp) }
  }

  return { revoked }
}

// bounded reads a body of at most maxBody bytes.
async function bounded(body) {
  const chunks = []
  let size = 0
  for await (const chunk of body) {
    if ((size += chunk.length) > maxBody) throw new Error('the status list is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('latin1')
}
