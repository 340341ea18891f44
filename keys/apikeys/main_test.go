package apikeys_test

import (
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/rapidtest"
)

func TestMain(m *testing.M) { rapidtest.Main(m) }
