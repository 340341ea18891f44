// A service that signs instead of sending a secret (private_key_jwt, RFC 7523), and
// asks an API with the token it gets.
//
//   ISSUER=… CLIENT_ID=cli_… KEY=private.json node service.mjs http://localhost:8080/api/v1/incidents
import { readFile } from 'node:fs/promises'
import { importJWK } from 'jose'
import * as oidc from 'openid-client'

const { ISSUER, CLIENT_ID, KEY } = process.env
const jwk = JSON.parse(await readFile(KEY, 'utf8'))
const key = { key: await importJWK(jwk), kid: jwk.kid }
const config = await oidc.discovery(new URL(ISSUER), CLIENT_ID, undefined, oidc.PrivateKeyJwt(key), {
  execute: ISSUER.startsWith('http:') ? [oidc.allowInsecureRequests] : [], // for development on one machine
})

// One token serves until it expires: ask again shortly before, not for every call.
const tokens = await oidc.clientCredentialsGrant(config)
const answer = await fetch(process.argv[2], { headers: { Authorization: `Bearer ${tokens.access_token}` } })
console.log(answer.status, await answer.text())
