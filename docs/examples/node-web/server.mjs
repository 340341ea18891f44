// A web application whose people sign in at tokenhouse.
//
//   npm ci
//   ISSUER=http://localhost:8080 CLIENT_ID=cli_… CLIENT_SECRET=ths_… node server.mjs
//
// It runs on a server, so it keeps a secret; the browser holds one cookie of
// the application's own and never sees a token.
import { createServer } from 'node:http'
import { randomBytes } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oidc from 'openid-client'

const issuer = new URL(process.env.ISSUER ?? 'http://localhost:8080')
const self = new URL(process.env.SELF ?? 'http://localhost:3000')
const { CLIENT_ID, CLIENT_SECRET } = process.env

const tokenhouse = await oidc.discovery(issuer, CLIENT_ID, undefined, oidc.ClientSecretBasic(CLIENT_SECRET), {
  execute: [
    oidc.enableNonRepudiationChecks, // verify signatures, although they come straight from tokenhouse
    ...(issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : []), // for development on one machine
  ],
})
const keys = createRemoteJWKSet(new URL(tokenhouse.serverMetadata().jwks_uri))

const visits = new Map() // our cookie -> { login, tokens, claims }; a real application keeps them in its database

const pages = {
  'GET /'({ tokens, claims }, answer) {
    if (!tokens) return answer.send('<p>Nobody is signed in. <a id="login" href="/login">Sign in</a></p>')
    answer.send(`<p>Signed in as <b id="who">${escape(claims.email)}</b></p>
      <p><a id="account" href="/account">Account</a></p>
      <form method="post" action="/logout"><button id="logout">Sign out</button></form>`)
  },

  async 'GET /login'(visit, answer) {
    // All three stay here: PKCE binds the code to this visit, state the answer, nonce the ID token.
    visit.login = { verifier: oidc.randomPKCECodeVerifier(), state: oidc.randomState(), nonce: oidc.randomNonce() }
    answer.redirect(oidc.buildAuthorizationUrl(tokenhouse, {
      redirect_uri: new URL('/callback', self).href,
      scope: 'openid profile email',
      code_challenge: await oidc.calculatePKCECodeChallenge(visit.login.verifier),
      code_challenge_method: 'S256',
      state: visit.login.state,
      nonce: visit.login.nonce,
    }))
  },

  async 'GET /callback'(visit, answer, url) {
    const { verifier, state, nonce } = visit.login ?? {}
    delete visit.login
    const tokens = await oidc.authorizationCodeGrant(tokenhouse, url, {
      pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
    })
    const fresh = answer.newVisit() // whoever knew the cookie before the login does not know it now
    fresh.idToken = tokens.id_token
    fresh.sid = tokens.claims().sid
    keep(fresh, tokens)
    fresh.claims = await oidc.fetchUserInfo(tokenhouse, tokens.access_token, tokens.claims().sub)
    answer.redirect(self)
  },

  async 'GET /account'(visit, answer) {
    if (!visit.tokens) return answer.redirect(new URL('/login', self))
    if (Date.now() > visit.expires - 30_000) keep(visit, await oidc.refreshTokenGrant(tokenhouse, visit.tokens.refresh_token))
    const claims = await oidc.fetchUserInfo(tokenhouse, visit.tokens.access_token, visit.claims.sub)
    answer.send(`<pre id="claims">${escape(JSON.stringify(claims, null, 2))}</pre>`)
  },

  'POST /logout'(visit, answer) {
    const id_token_hint = visit.idToken
    answer.endVisit()
    if (!id_token_hint) return answer.redirect(self)
    answer.redirect(oidc.buildEndSessionUrl(tokenhouse, { id_token_hint, post_logout_redirect_uri: self.href }))
  },

  // tokenhouse calls this when the person signed out elsewhere (OpenID Connect Back-Channel Logout 1.0).
  async 'POST /backchannel-logout'(_, answer, __, body) {
    const { payload } = await jwtVerify(new URLSearchParams(body).get('logout_token'), keys, {
      issuer: tokenhouse.serverMetadata().issuer, audience: CLIENT_ID, typ: 'logout+jwt', requiredClaims: ['jti', 'sid', 'events'],
    })
    if (payload.nonce || !payload.events['http://schemas.openid.net/event/backchannel-logout']) throw new Error('not a logout token')
    for (const [cookie, visit] of visits) if (visit.sid === payload.sid) visits.delete(cookie)
    answer.send('')
  },
}

// keep remembers the newest tokens: each refresh brings a new refresh token.
function keep(visit, tokens) {
  visit.tokens = tokens
  visit.expires = Date.now() + tokens.expiresIn() * 1000
}

const escape = (s) => String(s).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

createServer(async (request, response) => {
  const url = new URL(request.url, self)
  let cookie = /(?:^|; )visit=([\w-]+)/.exec(request.headers.cookie)?.[1]
  const answer = {
    newVisit() {
      visits.delete(cookie)
      cookie = randomBytes(32).toString('base64url')
      visits.set(cookie, {})
      response.setHeader('Set-Cookie', `visit=${cookie}; HttpOnly; SameSite=Lax; Path=/${self.protocol === 'https:' ? '; Secure' : ''}`)
      return visits.get(cookie)
    },
    endVisit() { visits.delete(cookie) },
    redirect(to) { response.writeHead(303, { Location: to.href }).end() },
    send(html, status = 200) {
      response.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' }).end(html)
    },
  }
  try {
    const page = pages[`${request.method} ${url.pathname}`]
    if (!page) return answer.send('<p>There is no such page.</p>', 404)
    await page(visits.get(cookie) ?? answer.newVisit(), answer, url, await text(request))
  } catch (err) {
    console.error(err.error ?? err.code ?? err.name, err.error_description ?? err.message)
    answer.send(`<p id="error">That did not work: ${escape(err.error ?? err.code ?? err.message)}</p>`, 400)
  }
}).listen(self.port || 80, self.hostname, () => console.log(`Open ${self}`))
