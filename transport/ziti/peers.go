package ziti

import (
	"net"
	"sync"
)

// Disconnect closes every connection that the identity id has made to servers with this node's [ServerCredentials], and
// returns how many there were. The overlay itself lets the connections of a deleted identity live on; so whoever deletes
// one must also refuse it (a handshake may be under way) and then disconnect it.
func (n *Node) Disconnect(id string) int {
	conns := n.peers.of(id)
	for _, c := range conns {
		_ = c.Close()
	}
	return len(conns)
}

// peers are the open connections by the identity at their other end. The zero value is ready for use.
type peers struct {
	mu    sync.Mutex
	conns map[string]map[*peerConn]struct{} // guarded by mu; no empty sets
}

func (p *peers) enter(conn net.Conn, id string) net.Conn {
	c := &peerConn{Conn: conn, id: id, peers: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		p.conns = map[string]map[*peerConn]struct{}{}
	}
	if p.conns[id] == nil {
		p.conns[id] = map[*peerConn]struct{}{}
	}
	p.conns[id][c] = struct{}{}
	return c
}

func (p *peers) leave(c *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns[c.id], c)
	if len(p.conns[c.id]) == 0 {
		delete(p.conns, c.id)
	}
}

func (p *peers) of(id string) []*peerConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var conns []*peerConn
	for c := range p.conns[id] {
		conns = append(conns, c)
	}
	return conns
}

// peerConn leaves the set of its peer when it is closed.
type peerConn struct {
	net.Conn
	id    string
	peers *peers
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.peers.leave(c)
	return c.Conn.Close()
}
