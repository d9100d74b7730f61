package ziti

import (
	"net"

	edgeapis "github.com/openziti/sdk-golang/edge-apis"
)

// ForgetSession leaves m with a session that the controller does not know, as after its expiry.
func (m *Manager) ForgetSession() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s edgeapis.ApiSession = edgeapis.NewApiSessionLegacy("no-such-session")
	m.client.ApiSession.Store(&s)
}

// EndHosting ends the SDK's listener below a listener of ours, as the SDK does by itself when it was refused.
func EndHosting(l net.Listener) error {
	ours := l.(*listener)
	ours.mu.Lock()
	defer ours.mu.Unlock()
	return ours.cur.Close()
}

// Sessions returns how many contexts of the SDK the node has, those that it left and that are in use included.
func (n *Node) Sessions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return 1 + len(n.left)
}
