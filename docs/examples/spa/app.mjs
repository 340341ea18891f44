// Code with PKCE as a public client. The library fetches everything else from
// the issuer's discovery document.
import { UserManager } from 'oidc-client-ts'

const { authority, client_id } = await (await fetch('settings.json')).json()
const here = location.origin
const manager = new UserManager({
  authority,
  client_id,
  redirect_uri: `${here}/`,
  silent_redirect_uri: `${here}/silent.html`,
  post_logout_redirect_uri: `${here}/`,
  scope: 'openid profile email',
  loadUserInfo: true,
  automaticSilentRenew: true, // a minute before the access token ends
  revokeTokensOnSignout: true,
})

const $ = (id) => document.getElementById(id)
let renewals = 0

async function show() {
  const user = await manager.getUser()
  const inside = Boolean(user && !user.expired)
  $('state').textContent = inside ? `Signed in as ${user.profile.email}` : 'Nobody is signed in'
  for (const id of ['call', 'refresh', 'frame', 'logout']) $(id).hidden = !inside
  $('login').hidden = inside
}

function on(id, act) {
  $(id).onclick = async () => {
    $('error').textContent = ''
    try {
      await act()
      await show()
    } catch (err) {
      $('error').textContent = err.error ?? err.message
    }
  }
}

on('login', () => manager.signinRedirect())

// The access token goes to a resource server as it is; tokenhouse itself is one.
on('call', async () => {
  const { access_token } = await manager.getUser()
  const { userinfo_endpoint } = await manager.metadataService.getMetadata()
  const answer = await fetch(userinfo_endpoint, { headers: { Authorization: `Bearer ${access_token}` } })
  $('answer').textContent = JSON.stringify(await answer.json(), null, 2)
})

on('refresh', () => manager.signinSilent())

// Without a refresh token the library opens a hidden frame with prompt=none. Browsers
// send tokenhouse's cookie there only where both are of one site, such as
// app.example.com and login.example.com.
on('frame', async () => {
  const user = await manager.getUser()
  delete user.refresh_token
  await manager.storeUser(user)
  await manager.signinSilent()
})

on('logout', () => manager.signoutRedirect())

manager.events.addUserLoaded(() => { $('renewals').textContent = String(++renewals) })
manager.events.addSilentRenewError((err) => { $('error').textContent = err.error ?? err.message })
manager.events.addAccessTokenExpired(show)

const answer = new URLSearchParams(location.search)
if (answer.has('state') && (answer.has('code') || answer.has('error'))) {
  try {
    await manager.signinCallback()
  } catch (err) {
    $('error').textContent = err.error ?? err.message
  }
  history.replaceState(null, '', '/') // the code is used up
}
await show()
