package verify

import "encoding/json"

// Remembered counts the tokens that v remembers.
func Remembered(v *Verifier) int {
	v.memory.mu.RLock()
	defer v.memory.mu.RUnlock()
	return len(v.memory.young) + len(v.memory.old)
}

// Members is members, by name.
func Members(data []byte) (map[string]json.RawMessage, error) {
	ms, err := members(data)
	out := map[string]json.RawMessage{}
	for _, m := range ms {
		out[m.name] = m.raw
	}
	return out, err
}

// ReadKeySet is readKeySet.
var ReadKeySet = readKeySet
