package hub

import "fmt"

// StaleError tells which appends came from an owner whose generation was passed. Nothing was written.
type StaleError struct {
	Indexes []int // into the appends of the call
}

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("generation was passed: appends %v", e.Indexes)
}
