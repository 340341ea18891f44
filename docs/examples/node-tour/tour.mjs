// Everything openid-client can ask tokenhouse for, one call after another.
//
//   ISSUER=… EMAIL=… PASSWORD=… WEB_ID=… WEB_SECRET=… SERVICE_ID=… SERVICE_KEY=key.json node tour.mjs
//
// WEB is a client with a secret, for authorization_code and refresh_token, with
// the redirect URI https://app.example/callback; SERVICE one for
// client_credentials that signs with the private key (a JWK) in that file. With
// REGISTRATION=open, clients are registered on the way too; one of them by whoever
// has REGISTRATION_TOKEN, an access token with clients:manage.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { importJWK } from 'jose'
import * as oidc from 'openid-client'
import { Person } from './person.mjs'

const { ISSUER, EMAIL, PASSWORD, WEB_ID, WEB_SECRET, SERVICE_ID, SERVICE_KEY, REGISTRATION, REGISTRATION_TOKEN } = process.env
const issuer = new URL(ISSUER)
// Signatures are verified too, which a library may leave out where TLS vouches for the token endpoint.
const options = { execute: [oidc.enableNonRepudiationChecks, ...(issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : [])] }
const redirect_uri = 'https://app.example/callback'
const bye = 'https://app.example/bye'
const done = (what) => console.log('ok', what)

// signIn takes a person through code and PKCE, and returns the tokens that openid-client validated.
async function signIn(config, person, { scope = 'openid profile email offline_access', ...more } = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const back = await person.visit(oidc.buildAuthorizationUrl(config, {
    redirect_uri, scope, state: expectedState, nonce: expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256', ...more,
  }))
  return oidc.authorizationCodeGrant(config, answerOf(back), { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true })
}

// answerOf is what came back to the client: an address, or a form that its page would post.
function answerOf(back) {
  if (back instanceof URL) return back
  if (!back.body) throw new Error(`stuck at ${back.at}: ${back.status} ${back.page}`)
  return new Request(back.action, { method: 'POST', body: back.body })
}

async function refused(promise, error) {
  await assert.rejects(promise, (err) => err.error === error || assert.fail(`${err.error ?? err}, not ${error}`))
}

async function web() {
  const config = await oidc.discovery(issuer, WEB_ID, undefined, oidc.ClientSecretBasic(WEB_SECRET), options)
  assert.equal(config.serverMetadata().issuer, issuer.href.replace(/\/$/, ''))
  assert.ok(config.serverMetadata().supportsPKCE())
  done('discovery')

  const ada = new Person(EMAIL, PASSWORD)
  const tokens = await signIn(config, ada)
  const claims = tokens.claims()
  assert.equal(claims.aud, WEB_ID)
  assert.ok(claims.sub && claims.sid && claims.nonce && claims.at_hash && claims.auth_time)
  done('code, PKCE and an ID token')

  const person = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)
  assert.equal(person.email, EMAIL)
  assert.ok(person.name)
  done('userinfo')

  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token)
  assert.ok(next.access_token && next.refresh_token)
  assert.equal(next.claims().sub, claims.sub)
  assert.equal(next.claims().auth_time, claims.auth_time)
  await oidc.fetchUserInfo(config, next.access_token, claims.sub)
  done('refresh')

  const seen = await oidc.tokenIntrospection(config, next.access_token)
  assert.equal(seen.active, true)
  assert.equal(seen.client_id, WEB_ID)
  assert.equal(seen.sub, claims.sub)
  done('introspection')

  const quiet = await signIn(config, ada, { prompt: 'none' })
  assert.equal(quiet.claims().auth_time, claims.auth_time)
  await refused(signIn(config, new Person(EMAIL, PASSWORD), { prompt: 'none' }), 'login_required')
  const anew = await signIn(config, ada, { prompt: 'login', max_age: '600' })
  assert.ok(anew.claims().auth_time >= claims.auth_time)
  done('prompt=none, prompt=login, max_age')

  await refused(new Person(EMAIL, PASSWORD).visit(oidc.buildAuthorizationUrl(config, {
    redirect_uri, scope: 'openid', state: 'x', prompt: 'consent', code_challenge: await oidc.calculatePKCECodeChallenge(oidc.randomPKCECodeVerifier()), code_challenge_method: 'S256',
  }), { decision: 'deny' }).then((back) => oidc.authorizationCodeGrant(config, answerOf(back), { expectedState: 'x' })), 'access_denied')
  done('a refusal')

  const posted = await signIn(config, ada, { response_mode: 'form_post' })
  assert.equal(posted.claims().sub, claims.sub)
  done('response_mode=form_post')

  await oidc.tokenRevocation(config, next.refresh_token)
  assert.equal((await oidc.tokenIntrospection(config, next.access_token)).active, false)
  await refused(oidc.refreshTokenGrant(config, next.refresh_token), 'invalid_grant')
  done('revocation')

  const left = await ada.visit(oidc.buildEndSessionUrl(config, { id_token_hint: posted.id_token, post_logout_redirect_uri: bye, state: 'so long' }))
  assert.ok(left instanceof URL, left.page)
  assert.equal(left.origin + left.pathname, bye)
  assert.equal(left.searchParams.get('state'), 'so long')
  await refused(signIn(config, ada, { prompt: 'none' }), 'login_required')
  done('logout')
}

async function service() {
  const jwk = JSON.parse(await readFile(SERVICE_KEY, 'utf8'))
  const key = { key: await importJWK(jwk, jwk.alg), kid: jwk.kid }
  const config = await oidc.discovery(issuer, SERVICE_ID, undefined, oidc.PrivateKeyJwt(key), options)
  const tokens = await oidc.clientCredentialsGrant(config)
  assert.equal(tokens.refresh_token, undefined)
  const seen = await oidc.tokenIntrospection(config, tokens.access_token)
  assert.equal(seen.active, true)
  assert.equal(seen.sub, SERVICE_ID)
  await oidc.tokenRevocation(config, tokens.access_token)
  assert.equal((await oidc.tokenIntrospection(config, tokens.access_token)).active, false)
  done('client_credentials with private_key_jwt')
}

// registered is a client that registers itself, signs somebody in and is gone.
async function registered(token_endpoint_auth_method, authentication, initialAccessToken) {
  const config = await oidc.dynamicClientRegistration(issuer, {
    client_name: `Tour, ${token_endpoint_auth_method}`, redirect_uris: [redirect_uri], post_logout_redirect_uris: [bye],
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method,
  }, authentication, { ...options, initialAccessToken })
  const meta = config.clientMetadata()
  assert.equal(meta.token_endpoint_auth_method, token_endpoint_auth_method)
  const tokens = await signIn(config, new Person(EMAIL, PASSWORD))
  await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token)
  await oidc.tokenRevocation(config, next.refresh_token)
  const managed = { headers: { Authorization: `Bearer ${meta.registration_access_token}` } }
  assert.equal((await (await fetch(meta.registration_client_uri, managed)).json()).client_id, meta.client_id)
  assert.equal((await fetch(meta.registration_client_uri, { ...managed, method: 'DELETE' })).status, 204)
  await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token), { status: 401 })
  done(`dynamic registration, ${token_endpoint_auth_method}`)
}

await web()
await service()
if (REGISTRATION === 'open') {
  await registered('client_secret_basic', oidc.ClientSecretBasic(), REGISTRATION_TOKEN)
  await registered('client_secret_post', oidc.ClientSecretPost())
  await registered('client_secret_jwt', oidc.ClientSecretJwt())
  await registered('none', oidc.None())
}
