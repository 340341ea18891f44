// Package faulty makes a database fail at a chosen statement, for tests that
// ask what a failure leaves behind.
package faulty

import (
	"errors"
	"sync"
)

// ErrInjected is the failure that a Plan injects.
var ErrInjected = errors.New("injected storage failure")

// Plan decides which statement fails. Give its Before to gormstore.Hooks. The
// zero Plan lets everything pass.
type Plan struct {
	mu     sync.Mutex
	armed  bool
	left   int // statements that pass before the one that fails
	always bool
	fired  string
}

// FailAt makes the n-th statement from now (0 is the next one) fail, once.
func (p *Plan) FailAt(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.left, p.always, p.fired = true, n, false, ""
}

// FailAll makes every statement fail until Heal.
func (p *Plan) FailAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.left, p.always, p.fired = true, 0, true, ""
}

// Heal lets everything pass and reports which kind of statement had failed;
// empty where none did.
func (p *Plan) Heal() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	return p.fired
}

// Before is the hook: it fails the statement that the plan chose.
func (p *Plan) Before(statement string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed {
		return nil
	}
	if p.left > 0 {
		p.left--
		return nil
	}
	p.armed, p.fired = p.always, statement
	return ErrInjected
}
