// Verifies access tokens of tokenhouse offline and prints what they say.
//
//   npm ci
//   ISSUER=http://localhost:8080 node verify.mjs <token.txt
//
// Tokens come on standard input, one a line, because arguments are visible to every
// process of the machine. ISSUER is the issuer; AUDIENCE is the audience of this
// resource server, the issuer where it is not set; with FAIL_OPEN=yes tokens are
// accepted while status lists are out of reach.
import { createInterface } from 'node:readline'
import { createVerifier } from './verifier.mjs'

const issuer = process.env.ISSUER ?? 'http://localhost:8080'
const verify = createVerifier({ issuer, audience: process.env.AUDIENCE ?? issuer, failOpen: process.env.FAIL_OPEN === 'yes' })

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const claims = await verify(line.trim())
    // Filter everything by claims.org_id; never take an organisation from the request.
    console.log(JSON.stringify(claims))
  } catch (err) {
    console.error(`refused: ${err.message}`)
    process.exitCode = 1
  }
}
