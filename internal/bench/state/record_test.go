package state

import "testing"

// The floor is to write records as long as the hub's: 228 bytes were read from a hub's etcd, for 10,000 sessions that had one
// turn.
func TestRecordIsAsLongAsTheHubs(t *testing.T) {
	if n := recordBytes(); n < 220 || n > 236 {
		t.Errorf("the floor's record has %d bytes", n)
	}
}
