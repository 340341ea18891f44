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

// ReadStatusList reads the claims of a status list and its entry of an index.
func ReadStatusList(payload []byte, index uint32) (value byte, ok bool, err error) {
	p, err := readStatusPayload(payload)
	if err != nil {
		return 0, false, err
	}
	data, err := inflate(p.lst)
	if err != nil {
		return 0, false, err
	}
	value, ok = (&statusList{bits: p.bits, data: data}).value(index)
	return value, ok, nil
}

// Settle waits for the fetch that runs, and counts the lists that are kept.
func (s *StatusLists) Settle() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.lists {
		l.mu.Lock()
		running := l.running
		l.mu.Unlock()
		if running != nil {
			<-running
		}
	}
	return len(s.lists)
}

// KeepAtMost bounds the revocations that r keeps.
func KeepAtMost(r *RemoteRevocations, n int) { r.heard.most = n }

// ReadAtMost bounds the documents that r reads, in bytes.
func ReadAtMost(r *RemoteRevocations, n int) { r.longest = n }
