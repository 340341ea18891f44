// Package outbound is how the server asks other people's servers for things
// when the address came from a tenant: key sets of clients, back-channel
// logout, webhooks. Whoever may name an address may try to reach through us
// what only we can reach, so a Client speaks to public addresses only, and an
// answer costs a bounded time and a bounded number of bytes.
//
// Its errors are for the operator's log. They name hosts, addresses and
// reasons, and a caller who could read them could map our network: wrap them
// with a detail that says only which document could not be had.
package outbound
