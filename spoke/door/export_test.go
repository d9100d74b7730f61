package door

// Waiting is how many transfers wait for their turn.
func (d *Door) Waiting() int {
	d.transfers.mu.Lock()
	defer d.transfers.mu.Unlock()
	return len(d.transfers.waiting)
}
