package housetest_test

import "github.com/tokenhouse/tokenhouse/internal/house"

// openRegistration lets clients register themselves, as many as a plan has.
func openRegistration(c *house.Config) { c.Clients.Mode, c.Clients.Hourly = "open", 1000 }
