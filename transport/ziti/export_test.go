package ziti

import edgeapis "github.com/openziti/sdk-golang/edge-apis"

// ForgetSession leaves m with a session that the controller does not know, as after its expiry.
func (m *Manager) ForgetSession() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s edgeapis.ApiSession = edgeapis.NewApiSessionLegacy("no-such-session")
	m.client.ApiSession.Store(&s)
}
