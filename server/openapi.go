package server

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// description is OpenAPI 3.1, written by hand. A test compares it with the
// routes, and live replies with it.
//
//go:embed openapi.json
var description []byte

// describe returns the description of the deployment at issuer.
func describe(issuer string) ([]byte, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(description, &doc); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	var err error
	if doc["servers"], err = json.Marshal([]any{map[string]any{"url": issuer}}); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}
