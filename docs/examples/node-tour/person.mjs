// A person with a browser, as far as tokenhouse's pages need one: they are
// plain forms, so cookies, redirects and the fields of a form are enough.
export class Person {
  #cookies = new Map()
  #email
  #password

  constructor(email, password) {
    this.#email = email
    this.#password = password
  }

  // visit opens a page and does what it asks until somebody else's address is
  // reached, which it returns: the authorization response of the client.
  async visit(url, { decision = 'allow', own = new URL(url).origin } = {}) {
    let at = new URL(url)
    let page = await this.#get(at)
    for (let step = 0; step < 20; step++) {
      if (page.status >= 300 && page.status < 400) {
        at = new URL(page.headers.get('location'), at)
        if (at.origin !== own) return at
        page = await this.#get(at)
        continue
      }
      const html = await page.text()
      const form = this.#fill(html, at, decision)
      if (!form) return { page: html, status: page.status, at }
      if (form.action.origin !== own) return form // response_mode=form_post
      at = form.action
      page = await this.#send(at, { method: 'POST', body: form.body, headers: { Origin: own } })
    }
    throw new Error(`the pages lead nowhere: ${at}`)
  }

  #get(url) { return this.#send(url, {}) }

  async #send(url, init) {
    const headers = { ...init.headers, Cookie: [...this.#cookies].map((c) => c.join('=')).join('; ') }
    const response = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [, name, value, rest] = /^([^=]+)=([^;]*)(.*)$/.exec(line)
      if (/max-age=0/i.test(rest)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return response
  }

  // fill answers the first form of the page; undefined where there is none.
  #fill(html, at, decision) {
    const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(html)
    if (!form) return undefined
    const body = new URLSearchParams()
    for (const [, tag] of form[2].matchAll(/<input\b([^>]*)>/gi)) {
      const name = attribute(tag, 'name')
      if (name && attribute(tag, 'type') !== 'checkbox') body.set(name, attribute(tag, 'value') ?? '')
    }
    if (body.has('email')) body.set('email', this.#email)
    if (body.has('password')) body.set('password', this.#password)
    const buttons = [...form[2].matchAll(/<button\b([^>]*)>/gi)].map(([, tag]) => [attribute(tag, 'name'), attribute(tag, 'value') ?? '']).filter(([name]) => name)
    const pressed = buttons.find(([name, value]) => name === 'decision' && value === decision) ?? buttons[0]
    if (pressed) body.set(...pressed)
    return { action: new URL(attribute(form[1], 'action') || at, at), body }
  }
}

function attribute(tag, name) {
  const found = new RegExp(`\\b${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, 'i').exec(tag)
  const value = found?.[1] ?? found?.[2] ?? found?.[3]
  return value?.replace(/&#(\d+);/g, (_, n) => String.fromCharCode(n)).replace(/&#x([\da-f]+);/gi, (_, n) => String.fromCharCode(parseInt(n, 16)))
    .replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}
