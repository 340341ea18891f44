package signing

// Document is a JWK Set (RFC 7517 §5), ready to be served.
type Document struct {
	Body []byte
	ETag string // strong, with its quotes (RFC 9110 §8.8.3)
}
