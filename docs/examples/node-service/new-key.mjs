// Makes a key for a service: private.json stays with it, public.json is registered.
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { writeFile } from 'node:fs/promises'

const pair = await generateKeyPair('ES256', { extractable: true })
const [own, known] = [await exportJWK(pair.privateKey), await exportJWK(pair.publicKey)]
const about = { kid: await calculateJwkThumbprint(known), alg: 'ES256', use: 'sig' }
await writeFile('private.json', JSON.stringify({ ...own, ...about }), { mode: 0o600 })
await writeFile('public.json', JSON.stringify({ keys: [{ ...known, ...about }] }))
