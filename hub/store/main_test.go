package store_test

import (
	"os"
	"testing"

	"github.com/nave-dev/nave/internal/etcdtest/member"
)

// TestMain lets this binary be a member of the clusters that its tests start.
func TestMain(m *testing.M) {
	member.Main()
	os.Exit(m.Run())
}
