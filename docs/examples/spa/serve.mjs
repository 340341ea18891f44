// Serves this folder's page for development; any web server for files would do.
//
//   npm ci
//   ISSUER=http://localhost:8080 CLIENT_ID=cli_… node serve.mjs
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'

const self = new URL(process.env.SELF ?? 'http://localhost:5173')
const settings = { authority: process.env.ISSUER ?? 'http://localhost:8080', client_id: process.env.CLIENT_ID }
const files = {
  '/': 'index.html', '/app.mjs': 'app.mjs', '/silent.html': 'silent.html',
  '/node_modules/oidc-client-ts/dist/esm/oidc-client-ts.js': 'node_modules/oidc-client-ts/dist/esm/oidc-client-ts.js',
  '/node_modules/jwt-decode/build/esm/index.js': 'node_modules/jwt-decode/build/esm/index.js',
}

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, self)
  const file = files[pathname]
  if (pathname === '/settings.json') {
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(settings))
  } else if (file) {
    const type = file.endsWith('.html') ? 'text/html; charset=utf-8' : 'text/javascript'
    response.writeHead(200, { 'Content-Type': type }).end(await readFile(new URL(file, import.meta.url)))
  } else {
    response.writeHead(404).end()
  }
}).listen(self.port || 80, self.hostname, () => console.log(`Open ${self}`))
