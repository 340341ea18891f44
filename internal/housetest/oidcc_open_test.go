package housetest_test

import "github.com/tokenhouse/tokenhouse/internal/house"

func openRegistration(c *house.Config) {}
