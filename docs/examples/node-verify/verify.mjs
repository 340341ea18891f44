// Verifies a tokenhouse access token offline and prints what it says.
//
//   npm ci
//   ISSUER=http://localhost:8080 node verify.mjs <token.txt
//
// The token comes on standard input, because arguments are visible to every
// process of the machine. ISSUER is the issuer; AUDIENCE is
// the audience of this resource server, the issuer where it is not set.
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import { text } from 'node:stream/consumers'

const issuer = process.env.ISSUER ?? 'http://localhost:8080'
const audience = process.env.AUDIENCE ?? issuer

// The set is fetched once, cached, and fetched again when a token names a key
// that is not in it. A service makes it once, at its start.
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))

try {
  const token = (await text(process.stdin)).trim()
  const { payload } = await jwtVerify(token, keys, {
    issuer,
    audience,
    typ: 'at+jwt', // RFC 9068: an ID token is no access token
    algorithms: ['ES256', 'ES384', 'EdDSA', 'PS256', 'RS256'],
    requiredClaims: ['sub', 'exp', 'jti', 'org_id'],
    clockTolerance: 30,
  })
  // Filter everything by payload.org_id; never take an organisation from the request.
  console.log(JSON.stringify(payload, null, 2))
} catch (err) {
  const why = err instanceof errors.JWTExpired ? 'token expired' : 'invalid token'
  console.error(`refused: ${why} (${err.code ?? err.message})`)
  process.exitCode = 1
}
