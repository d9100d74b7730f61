package door

// Waiting is how many transfers wait for their turn.
func (d *Door) Waiting() int { return d.transfers.waits() }

// SignalsWaiting is the same of signals.
func (d *Door) SignalsWaiting() int { return d.signals.waits() }

func (q *queue) waits() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
