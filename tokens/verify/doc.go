// Package verify checks the access tokens of tokenhouse in a resource server,
// offline: it needs the issuer's public keys and, where a revocation must be seen
// before the token expires, the issuer's signed feed or its status lists. Nobody
// is asked about a token. It imports go-jose and the standard library only.
//
// # Quick start
//
//	const issuer = "https://auth.example.com"
//	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: time.Now}
//	v := &verify.Verifier{Issuer: issuer, Audience: "https://api.example.com", Keys: keys, Now: time.Now}
//	http.Handle("GET /agents", v.Middleware(verify.Require("agents:read", listAgents)))
//
// A handler behind Middleware reads who asks with ClaimsFrom, and filters
// everything it touches by Claims.OrgID. It never takes an organisation from the
// request. For gin there is [github.com/tokenhouse/tokenhouse/tokens/verify/ginverify];
// for anything else there are BearerToken, Verifier.Verify and WriteError, which
// Middleware is made of.
//
// That much accepts a token until it expires. To refuse one as soon as it is
// revoked takes one more value:
//
//	v.Revoked = &verify.StatusLists{Issuer: issuer, Keys: keys, Now: time.Now}
//
// # What is checked, in this order
//
//  1. The form: compact serialisation, three parts of canonical base64url, at
//     most 16 KiB, typ at+jwt (RFC 9068 §4), no critical extensions, no key of
//     the sender's own, no JSON member twice.
//  2. The signature, by the published key that kid names and with that key's own
//     algorithm. Symmetric algorithms do not exist here.
//  3. iss, aud, sub, jti, iat and nbf. A token may be for several resource
//     servers (aud is a list then, RFC 8707 §2.2): each accepts it that is among
//     them, however many others are.
//  4. exp.
//  5. org_id.
//  6. Revocation, where Verifier.Revoked is set.
//
// Two clocks never agree, so every comparison with the present allows a leeway
// of 30 seconds (Verifier.Leeway): a token is good until exp + leeway, and from
// nbf - leeway on.
//
// # What is answered
//
// The first check that fails decides the error: ErrInvalid for 1 to 3, then
// ErrExpired, ErrNoOrg, ErrRevoked. No claims are returned with any error.
// ErrUnavailable means that keys or revocations could not be had. Middleware
// answers problem+json (RFC 9457) and a challenge (RFC 6750 §3):
//
//	401  no token, or ErrInvalid, ErrExpired, ErrNoOrg, ErrRevoked
//	403  the permission that Require names is lacking
//	503  ErrUnavailable, because a client must not be signed out for an outage
//
// Verifier.Report hears of each refusal with its cause, which clients are not
// shown. Result makes a label for a metric of it.
//
// # Keys
//
// RemoteKeys fetches the key set when it is first needed, keeps it for as long
// as Cache-Control says (at most an hour), and asks again when a token names a
// key it does not know, but not more often than every ten seconds however many
// such tokens arrive. While the issuer is down the last good set serves on for a
// day. The issuer publishes a key for longer than anybody may keep the set before
// it signs with it, so that a rotation is not noticed.
//
// # Revocation
//
// Without Verifier.Revoked a token lives until it expires, as with any offline
// verifier. There are two sources, and both may be used:
//
//   - RemoteRevocations follows the signed feed of everything that was revoked,
//     by a stream, by long polls or by polls, and knows of a revocation when it is
//     made. It needs a goroutine, one connection, and memory for all that is
//     revoked at present.
//   - StatusLists reads the signed list of bits that a token names, once in its
//     ttl (a minute), and knows of a revocation within it. It needs no goroutine,
//     and nothing for issuers whose tokens do not come.
//   - AnyOf asks both: a token is refused that one of them knows, and while one is
//     out of reach the other answers.
//
// What a feed tells by:
//
//	the token       it was revoked itself
//	the session     logout, the session was revoked, a refresh token was stolen
//	the subject     user disabled, password or role changed, signed out everywhere: all tokens issued until then
//	the API key     it was revoked: tokens that were exchanged for it
//	the signing key it was revoked: all that it signed, and no feed is believed that it signed
//
// A status list tells all that of a single token, but for the last: a revoked
// signing key is believed until RemoteKeys asks for the key set again, five
// minutes at most with tokenhouse. docs/revocation.md compares the two, with
// measured times.
//
// # Staleness, and failing closed
//
// What proves that a feed or a list is fresh is the time inside its signature:
// never that something answered, nor when. A feed declares how old it may be
// (max_staleness, 30 seconds); a list expires (exp, five minutes). Beyond that, or
// beyond a MaxStaleness of yours that is shorter, it is not known what was
// revoked, and every token is refused with ErrUnavailable. With FailOpen tokens
// are accepted then, unless they were seen revoked. Choose it where an answer to
// somebody who was signed out does less harm than none to everybody.
//
// A document that is older than what is known takes nothing back. One that was
// kept back from a stream is noticed by the next, or by the silence.
//
// # Testing your own server
//
// Give the Verifier a key of your own and a clock that stands still; the example
// "Testing" does it. Lookup makes a KeySource of a function, and RevokedFunc a
// RevocationSource: return true to see your server refuse a token, and an error to
// see it answer 503.
//
// # Limits
//
//	a token                         16 KiB
//	verified tokens remembered      4096, so that a signature is checked once per token (Verifier.CacheSize)
//	the key set                     256 KiB, 64 keys, one fetch at a time, 5 seconds
//	the feed                        32 MiB a document, 1 048 576 revocations, some 150 MB
//	a status list                   1 MiB inflated: eight million tokens
//	status lists kept               64 (StatusLists.MaxLists)
//	a level of JSON                 256 members, 16 levels
//	redirects                       none are followed
//
// All types may be used by any number of goroutines once their fields are set.
package verify
